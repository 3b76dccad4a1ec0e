//! The maintenance of a log: what erasures, retention and operators need beyond reading and appending.

use super::{AppendError, EventLog, ReadError, StoreFuture};
use crate::{StreamName, Version};

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
