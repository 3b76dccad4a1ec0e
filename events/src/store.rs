//! The event store: an append-only log of streams, and the only thing in amoiq that remembers.
//!
//! A [`Position`] is opaque, increasing and may skip; a [`Version`] counts a stream's events without
//! gaps. What a reader or a subscriber sees is durable. Every backend passes one
//! suite (`tests/store`), so that nothing above this line knows which one it runs on.

use std::{fmt, future::Future, pin::Pin};

use crate::{NewEvent, Position, RecordedEvent, StreamName, Version};

pub mod feed;
pub mod line;
pub mod memory;
pub mod meter;
pub mod seek;
pub mod sqlite;

pub use feed::{EventBatch, LogSubscription};
pub use meter::StoreMeter;
pub use seek::position_at;

/// The answer of a store, some time later.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The most events that one append may carry.
pub const MAX_APPEND_EVENTS: usize = 1_000;

/// The most bytes that one append's data may have together.
pub const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;

/// The most events that one read gives, however many are asked for: read transactions stay short.
pub const MAX_READ_EVENTS: usize = 1_000;

/// How many event ids back an [`ExpectedVersion::Any`] append is recognised as a repeat.
pub const REMEMBERED_IDS: usize = 10_000;

/// Which version the writer believes a stream to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Whatever it has.
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
    /// The stream is not where the writer believed it to be. Nothing was appended.
    #[error("expected {expected:?}, the stream is at {actual}")]
    Conflict {
        /// What the writer believed.
        expected: ExpectedVersion,
        /// What is.
        actual: Version,
    },
    /// The queue of the writer is full. Nothing was appended.
    #[error("the store has more to write than it can hold")]
    Overloaded,
    /// More than [`MAX_APPEND_EVENTS`] or [`MAX_APPEND_BYTES`], or nothing at all. Nothing was appended.
    #[error("an append has 1 to {MAX_APPEND_EVENTS} events of together at most {MAX_APPEND_BYTES} bytes")]
    Size,
    /// The store could not write, or could not say. The events may exist all the same: appending
    /// them again under the same ids is safe.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Why a read did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What is stored is not what was written. It is never handed out.
    #[error("the log is damaged at position {position}: {reason}; `amoiq verify` says what to do")]
    Corrupt {
        /// Where.
        position: Position,
        /// What does not fit.
        reason: String,
    },
    /// The queue of the readers is full.
    #[error("the store has more to read than it can hold")]
    Overloaded,
    /// The store could not read.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Names one history. A restore or a lost tail begins another, and what was derived from the one
/// before (views, cursors, offsets) is not valid for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
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

/// An append-only log of streams.
pub trait EventStore: Send + Sync + 'static {
    /// Adds events to the end of a stream, all or none, and answers when they are durable.
    ///
    /// The same event ids again give the first answer: for [`ExpectedVersion::Exact`] and
    /// [`ExpectedVersion::NoStream`] when the ids stored after the expected version are these, for
    /// [`ExpectedVersion::Any`] within the last [`REMEMBERED_IDS`].
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>>;

    /// Up to `limit` events of a stream, from version `from` on and with it.
    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>>;

    /// Up to `limit` events of all streams after a position.
    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>>;

    /// Every event after a position, first what is there, then what comes, in order, each once.
    fn subscribe(&self, after: Position) -> LogSubscription;

    /// The position of the newest durable event.
    fn head(&self) -> Position;

    /// Up to `limit` names of streams that begin with `prefix`, after the name `after`, in order.
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>>;

    /// Removes a stream's events before a version. Versions and positions of the others stay.
    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>>;

    /// Removes a stream. It can begin again, at version 1.
    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>>;

    /// Sees to it that no file of the store holds what was removed before. That reads the whole store;
    /// appends go on meanwhile. One that has no files has nothing to do.
    fn scrub(&self) -> StoreFuture<Result<(), AppendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The history that this store holds.
    fn epoch(&self) -> Epoch;

    /// Whether it takes writes.
    fn health(&self) -> StoreHealth;
}

/// Checks what every backend must refuse before it queues an append.
pub(crate) fn check_size(events: &[NewEvent]) -> Result<(), AppendError> {
    let bytes: usize = events.iter().map(|event| event.data.len()).sum();
    if events.is_empty() || events.len() > MAX_APPEND_EVENTS || bytes > MAX_APPEND_BYTES {
        return Err(AppendError::Size);
    }
    Ok(())
}
