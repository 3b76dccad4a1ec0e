//! Appends: what is expected of a stream, compared with where it is; and repeats, which are answered with the first answer.
//!
//! A decision is made on what this node has followed. That may be behind what another node did, but a stream's revision says
//! which version it has, for ever: so an append that the server takes at a revision was decided rightly. When the server says
//! that the stream has moved on, it is read, and the append is decided again. After a try that nobody answered, the ids that
//! are stored then say whether it was carried out.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout_at};

use super::{stream_turns::StreamTurns, stream_writes::StreamWrites};
use crate::{
    NewEvent, StreamName, Version,
    store::{
        AppendError, AppendReceipt, ExpectedVersion, ReadDirection, ReadError,
        kurrentdb::{
            connecting::{node_call_error::NodeCallError, timing, wire_requests::StreamWrite},
            following::{followed_log::FollowedLog, log_index::StreamPlace, shared_index::SharedIndex},
            reading::stream_reads::{StreamReads, VersionRange},
            records::log_record::encode,
        },
    },
};

/// Appends to the log.
pub(in crate::store::kurrentdb) struct LogAppends {
    pub(in crate::store::kurrentdb) turns: StreamTurns,
    pub(in crate::store::kurrentdb) writes: StreamWrites,
    pub(in crate::store::kurrentdb) reads: StreamReads,
    pub(in crate::store::kurrentdb) log: Arc<FollowedLog>,
    pub(in crate::store::kurrentdb) index: Arc<SharedIndex>,
}

/// What is to be appended.
pub(in crate::store::kurrentdb) struct WantedAppend {
    pub(in crate::store::kurrentdb) stream: StreamName,
    pub(in crate::store::kurrentdb) expected: ExpectedVersion,
    pub(in crate::store::kurrentdb) events: Vec<NewEvent>,
    pub(in crate::store::kurrentdb) deadline: Instant,
}

impl LogAppends {
    /// Appends, and answers after this node has followed the log up to the events.
    pub(in crate::store::kurrentdb) async fn append(
        &self,
        wanted: WantedAppend,
    ) -> Result<AppendReceipt, AppendError> {
        let turn = timeout_at(wanted.deadline, self.turns.take(&wanted.stream)).await;
        let _turn = turn.map_err(|_late| AppendError::Overloaded)?;
        let mut place = self.index.lock().place(&wanted.stream);
        let mut is_fresh = false;
        loop {
            if let Some(receipt) = self.find_repeat(&wanted, &place).await? {
                return Ok(receipt);
            }
            let conflict = wanted.conflict(&place);
            if let Some(conflict) = conflict.filter(|_| is_fresh) {
                return Err(conflict);
            }
            if conflict_free(&wanted, &place) {
                match self.write(&wanted, &place).await {
                    Ok(last) => return self.answer(&wanted, &place, last).await,
                    Err(NodeCallError::Moved) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if Instant::now() >= wanted.deadline {
                return Err(AppendError::Unavailable(
                    "the stream moves on faster than it can be read".to_owned(),
                ));
            }
            place = self.fresh_place(&wanted).await?;
            is_fresh = true;
        }
    }

    async fn write(&self, wanted: &WantedAppend, place: &StreamPlace) -> Result<u64, NodeCallError> {
        let versions = (1..).map(|number| place.version.plus(number));
        let records = wanted.events.iter().zip(versions).map(|(event, version)| encode(event, version));
        let write = StreamWrite {
            name: self.index.names().stream(&wanted.stream),
            next: place.next,
            records: records.collect(),
        };
        self.writes.write(write, wanted.deadline).await
    }

    /// The receipt of what was written up to a revision.
    async fn answer(
        &self,
        wanted: &WantedAppend,
        place: &StreamPlace,
        last: u64,
    ) -> Result<AppendReceipt, AppendError> {
        let is_followed = self.log.reach(&wanted.stream, |place| place.next > last, timing::FOLLOW).await;
        let id = wanted.events.last().map(|event| event.id);
        let known = id.and_then(|id| self.index.lock().receipt_of(&wanted.stream, id));
        if let Some(receipt) = known.filter(|_| is_followed) {
            return Ok(receipt);
        }
        // The log cannot be followed at the moment, or so much was appended meanwhile: the stream itself says where it is.
        let version = place.version.plus(wanted.events.len() as u64);
        let stored = self.stored_from(wanted, version, 1).await?.pop();
        let stored = stored.filter(|stored| Some(stored.event.id) == id);
        let stored =
            stored.ok_or_else(|| AppendError::Unavailable("the events were removed meanwhile".to_owned()))?;
        self.log.advance(stored.position);
        Ok(AppendReceipt { version, position: stored.position })
    }

    /// The first receipt, if these events are already stored where they are wanted.
    async fn find_repeat(
        &self,
        wanted: &WantedAppend,
        place: &StreamPlace,
    ) -> Result<Option<AppendReceipt>, AppendError> {
        let before = match wanted.expected {
            ExpectedVersion::Any => return Ok(self.index.lock().repeated(&wanted.stream, &wanted.events)),
            ExpectedVersion::NoStream => Version::NONE,
            ExpectedVersion::Exact(version) => version,
        };
        let count = wanted.events.len();
        if before.plus(count as u64) > place.version {
            return Ok(None);
        }
        let stored = self.stored_from(wanted, before.next(), count).await?;
        let is_same = stored.len() == count
            && stored.iter().zip(&wanted.events).zip(1..).all(|((stored, event), number)| {
                stored.event.id == event.id && stored.version == before.plus(number)
            });
        let last = stored.last().filter(|_| is_same);
        Ok(last.map(|last| AppendReceipt { version: last.version, position: last.position }))
    }

    async fn stored_from(
        &self,
        wanted: &WantedAppend,
        from: Version,
        limit: usize,
    ) -> Result<Vec<crate::RecordedEvent>, AppendError> {
        let range =
            VersionRange { stream: wanted.stream.clone(), from, direction: ReadDirection::Forward, limit };
        self.reads.read(range).await.map_err(unreadable)
    }

    /// Where the stream is, as the server says; this node has followed the log up to there.
    async fn fresh_place(&self, wanted: &WantedAppend) -> Result<StreamPlace, AppendError> {
        let fresh = self.reads.newest(&wanted.stream).await.map_err(unreadable)?;
        let is_followed =
            self.log.reach(&wanted.stream, |place| place.next >= fresh.next, timing::FOLLOW).await;
        match wanted.expected {
            // Whether it is a repeat is known only from following.
            ExpectedVersion::Any if !is_followed => {
                Err(AppendError::Unavailable("the log cannot be followed at the moment".to_owned()))
            }
            _ => {
                if !is_followed {
                    sleep(timing::RETRY).await;
                }
                Ok(fresh)
            }
        }
    }
}

impl WantedAppend {
    /// Why the stream is not where the writer expects it.
    fn conflict(&self, place: &StreamPlace) -> Option<AppendError> {
        let is_expected = match self.expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => place.version == Version::NONE,
            ExpectedVersion::Exact(version) => place.version == version,
        };
        (!is_expected).then_some(AppendError::Conflict { expected: self.expected, actual: place.version })
    }
}

fn conflict_free(wanted: &WantedAppend, place: &StreamPlace) -> bool {
    wanted.conflict(place).is_none()
}

/// What an append says when the stream has to be read for it and does not read.
fn unreadable(error: ReadError) -> AppendError {
    AppendError::Unavailable(error.to_string())
}
