//! The log as everybody uses it: append, read, subscribe. What erasures, retention and operators need beyond that is
//! [`LogMaintenance`].
//!
//! A [`Position`] is opaque: it increases, and nothing else is promised. It may be a byte offset that skips
//! hundreds with every event, so nobody outside a backend calculates with it. A backend may refuse a position that it
//! never gave out ([`ReadError::UnknownPosition`]). What a reader or a subscriber sees is durable.

use std::{fmt, future::Future, ops::Bound, pin::Pin};

use super::LogSubscription;
use crate::{NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version};

/// The answer of a store, some time later.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The most events that one append may carry.
pub const MAX_APPEND_EVENTS: usize = 1_000;

/// The most events that one read returns, however many are asked for: read transactions stay short.
pub const MAX_READ_EVENTS: usize = 1_000;

/// An [`ExpectedVersion::Any`] append is recognised as a repeat within at least this many of the newest events.
pub const REMEMBERED_IDS: usize = 10_000;

/// How far the times of two events may contradict their order: an append may wait, and a clock may be set.
pub(crate) const MAX_JITTER_MS: i64 = 10_000;

/// The version that the writer expects a stream to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// The writer does not care.
    Any,
    /// The stream has no events.
    NoStream,
    /// Exactly this one.
    Exact(Version),
}

/// Which way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadDirection {
    /// Rising versions.
    Forward,
    /// Falling versions.
    Backward,
}

/// Where an append ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendReceipt {
    /// The version of its last event.
    pub version: Version,
    /// The position of its last event.
    pub position: Position,
}

/// Why an append did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream has another version than the writer expected. Nothing was appended.
    #[error("expected {expected:?}, the stream is at {actual}")]
    Conflict {
        /// What the writer expected.
        expected: ExpectedVersion,
        /// What the stream has.
        actual: Version,
    },
    /// The queue of the writer is full. Nothing was appended.
    #[error("the store has more to write than it can hold")]
    Overloaded,
    /// More than [`MAX_APPEND_EVENTS`], more bytes than the backend takes, or nothing at all. Nothing was appended.
    #[error("an append has 1 to {MAX_APPEND_EVENTS} events of together at most {max_bytes} bytes")]
    Size {
        /// [`EventLog::max_append_bytes`]
        max_bytes: usize,
    },
    /// The store could not write, or does not know whether it did. The events may exist: appending them again under the
    /// same ids is safe.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Why a read did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// An event is not what was written, or is missing. It is never returned.
    #[error("the log is damaged at position {position}: {reason}; `amoiq verify` says what to do")]
    EventDamaged {
        /// The event.
        position: Position,
        /// What does not fit.
        reason: String,
    },
    /// A row of the index, which the store keeps beside the events, is not what was written.
    #[error(
        "the index of the log is damaged: a row of `{table}` is not what was written; stop the service and run \
         `amoiq verify --repair`"
    )]
    IndexDamaged {
        /// The table.
        table: &'static str,
    },
    /// The file is not what the store wrote; no single event is known to be damaged.
    #[error("the log is damaged: {reason}; `amoiq verify` says what to do")]
    FileDamaged {
        /// What the database says.
        reason: String,
    },
    /// No event has, or had, this position.
    #[error("no event has the position {0}")]
    UnknownPosition(Position),
    /// The queue of the readers is full.
    #[error("the store has more to read than it can hold")]
    Overloaded,
    /// The store could not read.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Names one history. A restore or a lost end of the log starts another, for which nothing is valid that was derived from
/// the previous one (views, cursors, offsets).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl ReadError {
    /// Whether what is stored is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::EventDamaged { .. }) || self.is_about_the_file()
    }

    /// Whether the index or the file is damaged rather than an event. An event whose checksum fails was at least read.
    pub(crate) fn is_about_the_file(&self) -> bool {
        matches!(self, Self::IndexDamaged { .. } | Self::FileDamaged { .. })
    }
}

/// An append-only log of streams.
pub trait EventLog: Send + Sync + 'static {
    /// Adds events to the end of a stream, all or none, and answers when they are durable.
    ///
    /// The same event ids again return the first receipt: for [`ExpectedVersion::Exact`] and
    /// [`ExpectedVersion::NoStream`] when the ids stored after the expected version are these, for
    /// [`ExpectedVersion::Any`] within at least the last [`REMEMBERED_IDS`] events.
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>>;

    /// Reads up to `limit` events of a stream, from version `from` on and including it.
    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>>;

    /// Reads up to `limit` events of all streams after a position.
    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>>;

    /// Returns every event after a position, in order and once: first those in the log, then new ones.
    fn subscribe(&self, after: Position) -> LogSubscription;

    /// The event at a position; `None` when it was removed.
    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>>;

    /// The position after which every event has at least this time, so that reading after it starts with the first
    /// of them. When no event is as late, that is the end of the log.
    ///
    /// Events carry the time at which they were decided: on one machine these times contradict the order of events by less
    /// than ten seconds. If the clock was set back by more, the result may be wrong.
    fn position_at(&self, time: Timestamp) -> StoreFuture<Result<Position, ReadError>>;

    /// The newest position within a bound, [`Position::START`] when there is none. It turns a number that a person
    /// named into a position that this log knows.
    fn newest_within(&self, bound: Bound<Position>) -> StoreFuture<Result<Position, ReadError>>;

    /// How many events were appended after a position, without waiting: how far a reader at that position is behind.
    /// Events that were removed since may count.
    fn events_after(&self, position: Position) -> u64;

    /// The position of the newest durable event that this node knows of.
    fn head(&self) -> Position;

    /// The position of the newest durable event of any node: whatever was acknowledged before this was asked is not
    /// after it. Once it is answered, [`EventLog::head`] is at least there. For a log with one writer that is `head`.
    fn current_head(&self) -> StoreFuture<Result<Position, ReadError>> {
        Box::pin(std::future::ready(Ok(self.head())))
    }

    /// Makes sure that everything which reads have shown survives what an answered append survives, before a caller is
    /// told of something that is stored already. A log with one writer shows nothing else.
    fn confirm(&self) -> StoreFuture<Result<(), AppendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether other nodes may append to this log too: then what this node remembers of a stream may be outdated.
    fn is_shared(&self) -> bool {
        false
    }

    /// The history that this log holds.
    fn epoch(&self) -> Epoch;

    /// Waits until this history ends because the log goes on as another one: a failover lost events, or it was restored
    /// while it was open. Reads and appends are refused from then on, and whoever derived anything from the log starts anew
    /// on the epoch that this returns. A log that one process has to itself only ends when it is closed.
    fn replaced(&self) -> StoreFuture<Epoch> {
        Box::pin(std::future::pending())
    }

    /// Up to where an earlier history is certainly the same as this one; to be asked before anything is appended. A log that
    /// only ever loses its end is the same up to its head.
    fn common_with(&self, _earlier: Epoch) -> Position {
        self.head()
    }

    /// The most bytes that the data of one append may have together.
    fn max_append_bytes(&self) -> usize;
}

/// Checks what every backend must refuse before it queues an append.
pub(crate) fn check_size(events: &[NewEvent], max_bytes: usize) -> Result<(), AppendError> {
    let bytes: usize = events.iter().map(|event| event.data.len()).sum();
    if events.is_empty() || events.len() > MAX_APPEND_EVENTS || bytes > max_bytes {
        return Err(AppendError::Size { max_bytes });
    }
    Ok(())
}

/// Whether the store takes writes and reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// It does.
    Writable,
    /// It does not, because of this. It tries again by itself.
    Failing(String),
    /// It takes writes, and what is stored does not read, because of this. It tries again by itself.
    Unreadable(String),
}

/// What can be done to a log besides appending to it and reading it.
pub trait LogMaintenance: Send + Sync + 'static {
    /// Lists up to `limit` names of streams that start with `prefix`, after the name `after`, in order.
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>>;

    /// Removes a stream's events before a version. Versions and positions of the others stay.
    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>>;

    /// Removes a stream. The next append to it starts it again, at version 1.
    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>>;

    /// Ensures that no file of the store holds what was removed before. This reads the whole store; appends go
    /// on meanwhile. A store without files has nothing to do.
    fn scrub(&self) -> StoreFuture<Result<(), AppendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether the store takes writes and reads.
    fn health(&self) -> StoreHealth;
}

/// A log with its maintenance: what a backend is. Whoever only reads and appends takes an [`EventLog`].
pub trait EventStore: EventLog + LogMaintenance {}

impl<T: EventLog + LogMaintenance> EventStore for T {}
