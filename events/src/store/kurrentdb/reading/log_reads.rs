//! Reads the log of all streams from the leader. The server still shows what was removed, until a scavenge: it is passed
//! over here.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    Position, RecordedEvent,
    store::{
        MAX_READ_EVENTS, ReadError,
        kurrentdb::{
            connecting::{node_call_error::NodeCallError, supervisor::ConnectionSupervisor, timing},
            following::shared_index::SharedIndex,
            records::log_record::{LogRecord, WireRecord},
        },
    },
};

/// How many records are read at once. What is removed is among them.
const PAGE: usize = MAX_READ_EVENTS + 1;

/// Reads the log.
#[derive(Clone)]
pub(in crate::store::kurrentdb) struct FilteredReads {
    pub(in crate::store::kurrentdb) supervisor: Arc<ConnectionSupervisor>,
    pub(in crate::store::kurrentdb) index: Arc<SharedIndex>,
    /// The position of the first record.
    pub(in crate::store::kurrentdb) start: u64,
}

impl FilteredReads {
    /// Events after a position, as far as they are kept.
    pub(in crate::store::kurrentdb) async fn after(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let limit = limit.min(MAX_READ_EVENTS);
        let mut events = Vec::new();
        let mut from = after;
        while events.len() < limit {
            let page = self.page(from, (limit - events.len() + 1).min(PAGE)).await?;
            let last = page.last().map(|record| Position::from_u64(record.position));
            for record in page {
                let revision = record.revision;
                if Position::from_u64(record.position) <= from {
                    continue;
                }
                if let LogRecord::Event(event) = LogRecord::decode(record, self.index.names())?
                    && self.index.lock().is_kept(&event.stream, revision)
                    && events.len() < limit
                {
                    events.push(event);
                }
            }
            match last {
                Some(last) if last > from => from = last,
                _ => break,
            }
        }
        Ok(events)
    }

    /// The event at a position; nothing when it was removed.
    pub(in crate::store::kurrentdb) async fn at(
        &self,
        position: Position,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        if position == Position::START {
            return Ok(None);
        }
        let page = self.page(position, 1).await?;
        let Some(record) = page.into_iter().find(|record| record.position == position.as_u64()) else {
            return Ok(None);
        };
        let revision = record.revision;
        let LogRecord::Event(event) = LogRecord::decode(record, self.index.names())? else { return Ok(None) };
        let is_kept = self.index.lock().is_kept(&event.stream, revision);
        Ok(is_kept.then_some(event))
    }

    /// Records from a position on and including it, removed ones too.
    pub(in crate::store::kurrentdb) async fn page(
        &self,
        from: Position,
        count: usize,
    ) -> Result<Vec<WireRecord>, ReadError> {
        let number = if from == Position::START { self.start } else { from.as_u64() };
        // The server counts with a sign, and takes the last number for the end.
        if number < self.start || i64::try_from(number).is_err() {
            return Err(ReadError::UnknownPosition(from));
        }
        let deadline = Instant::now() + timing::READ;
        let read = self
            .supervisor
            .call(deadline, move |connection| async move { connection.page(number, count).await });
        read.await.map_err(|error| match error {
            // What the server says of a place where no record begins.
            NodeCallError::Refused(_) if from != Position::START => ReadError::UnknownPosition(from),
            error => error.into(),
        })
    }
}
