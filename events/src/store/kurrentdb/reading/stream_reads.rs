//! Reads a stream of the log from the leader, so that what was acknowledged on any node is in it.
//!
//! A place in a stream is asked for by its version, and the database numbers its records by revisions. How they belong
//! together is known from following the log, and each record says its version: if another node has removed the stream
//! meanwhile, the records tell, and it is read again.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    RecordedEvent, StreamName, Version,
    store::{
        MAX_READ_EVENTS, ReadDirection, ReadError,
        kurrentdb::{
            connecting::{supervisor::ConnectionSupervisor, timing, wire_requests::StreamPage},
            following::{log_index::StreamPlace, shared_index::SharedIndex},
            records::log_record::{LogRecord, WireRecord},
        },
    },
};

/// How often a stream is read again from where its records say that it is.
const TRIES: usize = 4;

/// Reads streams.
#[derive(Clone)]
pub(in crate::store::kurrentdb) struct StreamReads {
    pub(in crate::store::kurrentdb) supervisor: Arc<ConnectionSupervisor>,
    pub(in crate::store::kurrentdb) index: Arc<SharedIndex>,
}

/// What is wanted of a stream.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct VersionRange {
    pub(in crate::store::kurrentdb) stream: StreamName,
    pub(in crate::store::kurrentdb) from: Version,
    pub(in crate::store::kurrentdb) direction: ReadDirection,
    pub(in crate::store::kurrentdb) limit: usize,
}

/// A record of a stream with its revision.
struct NumberedRecord {
    revision: u64,
    record: LogRecord,
}

impl StreamReads {
    /// Events of a stream from a version on.
    pub(in crate::store::kurrentdb) async fn read(
        &self,
        range: VersionRange,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let range = VersionRange { limit: range.limit.min(MAX_READ_EVENTS), ..range };
        if range.limit == 0 {
            return Ok(Vec::new());
        }
        match range.direction {
            ReadDirection::Forward => self.forward(&range).await,
            ReadDirection::Backward => self.backward(&range).await,
        }
    }

    /// What is known of the revisions may be old, and then the versions that are wanted come later, never earlier.
    async fn forward(&self, range: &VersionRange) -> Result<Vec<RecordedEvent>, ReadError> {
        let place = self.index.lock().place(&range.stream);
        let mut revision =
            if range.from <= Version::FIRST { place.first } else { place.revision_of(range.from) };
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let count = range.limit - events.len();
            let page = self.page(range, Some(revision), count).await?;
            let is_end = page.len() < count;
            for NumberedRecord { revision: at, record } in page {
                revision = at + 1;
                match record {
                    LogRecord::Event(event) if event.version >= range.from => events.push(event),
                    LogRecord::Removed { .. } => events.clear(),
                    _ => {}
                }
            }
            if is_end || events.len() >= range.limit {
                return Ok(events);
            }
        }
    }

    async fn backward(&self, range: &VersionRange) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut place = self.index.lock().place(&range.stream);
        for _ in 0..TRIES {
            // From beyond the end the server goes down a page at a time.
            let from = (range.from < place.version).then(|| place.revision_of(range.from));
            let events = self.backward_from(range, from).await?;
            let is_where_it_was = events.first().is_some_and(|event| event.version == range.from);
            if from.is_none() || is_where_it_was {
                return Ok(events);
            }
            let newest = self.newest(&range.stream).await?;
            if newest.next == place.next {
                return Ok(events);
            }
            place = newest;
        }
        Err(ReadError::Unavailable("the stream is removed again and again".to_owned()))
    }

    async fn backward_from(
        &self,
        range: &VersionRange,
        mut from: Option<u64>,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let count = range.limit - events.len();
            let page = self.page(range, from, count).await?;
            let is_end = page.len() < count;
            for NumberedRecord { revision: at, record } in page {
                match record {
                    LogRecord::Event(event) if event.version <= range.from => events.push(event),
                    LogRecord::Removed { .. } => return Ok(events),
                    _ => {}
                }
                match at.checked_sub(1) {
                    Some(before) => from = Some(before),
                    None => return Ok(events),
                }
            }
            if is_end || events.len() >= range.limit {
                return Ok(events);
            }
        }
    }

    /// Where a stream is, as its newest record says.
    pub(in crate::store::kurrentdb) async fn newest(
        &self,
        stream: &StreamName,
    ) -> Result<StreamPlace, ReadError> {
        let range = VersionRange {
            stream: stream.clone(),
            from: Version::LAST,
            direction: ReadDirection::Backward,
            limit: 1,
        };
        let newest = self.page(&range, None, 1).await?.pop();
        Ok(newest.map_or_else(StreamPlace::default, |newest| newest.place()))
    }

    async fn page(
        &self,
        range: &VersionRange,
        from: Option<u64>,
        count: usize,
    ) -> Result<Vec<NumberedRecord>, ReadError> {
        let name = self.index.names().stream(&range.stream);
        let page = StreamPage { name, from, direction: range.direction, count };
        let records = self
            .supervisor
            .call(Instant::now() + timing::READ, move |connection| {
                let page = page.clone();
                async move { connection.stream_page(&page).await }
            })
            .await?;
        let numbered = |record: WireRecord| {
            let revision = record.revision;
            LogRecord::decode(record, self.index.names()).map(|record| NumberedRecord { revision, record })
        };
        records.into_iter().map(numbered).collect()
    }
}

impl NumberedRecord {
    /// Where the stream is whose last record this is.
    fn place(&self) -> StreamPlace {
        let next = self.revision + 1;
        match &self.record {
            LogRecord::Event(event) => {
                StreamPlace { next, version: event.version, newest: event.position, ..StreamPlace::default() }
            }
            LogRecord::Removed { marker, .. } => {
                StreamPlace { next, version: marker.version, first: next, newest: marker.newest }
            }
            _ => StreamPlace { next, ..StreamPlace::default() },
        }
    }
}
