//! Every way in which the log is read.

use std::sync::Arc;

use crate::{
    Position, RecordedEvent, StreamName, Timestamp, Version,
    postgres::{CallFailure, SchemaName},
    store::{
        MAX_READ_EVENTS, ReadDirection, ReadError, StoreFuture,
        log::MAX_JITTER_MS,
        postgres::{
            history::known_end::EndValues,
            reading::{
                event_rows::{self, LogQueries, number},
                session_pool::SessionPool,
            },
            schema::LogState,
        },
    },
};

/// An answer, some time later.
type ReadAnswer<T> = StoreFuture<Result<T, ReadError>>;

/// Reads a log. Clones share their sessions.
#[derive(Clone)]
pub(in crate::store::postgres) struct LogReads {
    pool: SessionPool,
    queries: Arc<LogQueries>,
}

impl LogReads {
    pub(in crate::store::postgres) fn new(pool: SessionPool, schema: &SchemaName) -> Self {
        Self { pool, queries: Arc::new(LogQueries::new(schema)) }
    }

    /// Events of all streams after a position.
    pub(in crate::store::postgres) fn page(
        &self,
        after: Position,
        limit: usize,
    ) -> ReadAnswer<Vec<RecordedEvent>> {
        let values = vec![Box::new(number(after.as_u64())) as _, Box::new(page_limit(limit)) as _];
        self.pool.read(&self.queries.after, values, event_rows::decode)
    }

    /// Events of a stream from a version on.
    pub(in crate::store::postgres) fn stream(
        &self,
        stream: &StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> ReadAnswer<Vec<RecordedEvent>> {
        let query = match direction {
            ReadDirection::Forward => &self.queries.forward,
            ReadDirection::Backward => &self.queries.backward,
        };
        let (name, from) = (stream.as_str().to_owned(), number(from.as_u64()));
        let values = vec![Box::new(name) as _, Box::new(from) as _, Box::new(page_limit(limit)) as _];
        self.pool.read(query, values, event_rows::decode)
    }

    /// The event at a position.
    pub(in crate::store::postgres) fn event(&self, position: Position) -> ReadAnswer<Option<RecordedEvent>> {
        let values = vec![Box::new(number(position.as_u64())) as _];
        self.pool.read(&self.queries.at, values, |rows| Ok(event_rows::decode(rows)?.pop()))
    }

    /// The position after which every event up to `head` has at least this time.
    pub(in crate::store::postgres) fn position_at(
        &self,
        time: Timestamp,
        head: Position,
    ) -> ReadAnswer<Position> {
        let head = number(head.as_u64());
        let values = vec![Box::new(time.as_millis()) as _, Box::new(head) as _, Box::new(MAX_JITTER_MS) as _];
        self.pool.read(&self.queries.position_at, values, event_rows::position)
    }

    /// Names of streams with a prefix, after one.
    pub(in crate::store::postgres) fn streams(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> ReadAnswer<Vec<StreamName>> {
        // Names are ASCII: every name with this prefix is before this one.
        let end = format!("{prefix}\u{10ffff}");
        let after = after.map_or("", StreamName::as_str).to_owned();
        let (prefix, limit) = (prefix.to_owned(), page_limit(limit));
        let values =
            vec![Box::new(prefix) as _, Box::new(end) as _, Box::new(after) as _, Box::new(limit) as _];
        self.pool.read(&self.queries.streams, values, event_rows::names)
    }

    /// What the log says of itself, if it has what this node knows.
    pub(in crate::store::postgres) async fn state(
        &self,
        (epoch, position, id): EndValues,
    ) -> Result<LogState, CallFailure> {
        let values = vec![Box::new(epoch) as _, Box::new(position) as _, Box::new(id) as _];
        event_rows::state(&self.pool.rows(&self.queries.state, &values).await?)
    }
}

fn page_limit(limit: usize) -> i64 {
    number(limit.min(MAX_READ_EVENTS) as u64)
}
