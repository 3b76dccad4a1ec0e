//! The index of the log, for everybody who asks it. Subscriptions keep it after the store is closed, to hand out what is left.

use parking_lot::{Mutex, MutexGuard};

use super::log_index::LogIndex;
use crate::store::kurrentdb::records::log_names::LogNames;

/// The index, and the names of the log's streams in the database.
pub(in crate::store::kurrentdb) struct SharedIndex {
    names: LogNames,
    index: Mutex<LogIndex>,
}

impl SharedIndex {
    pub(in crate::store::kurrentdb) fn new(names: LogNames) -> Self {
        Self { names, index: Mutex::default() }
    }

    /// The index. Nobody waits while holding it.
    pub(in crate::store::kurrentdb) fn lock(&self) -> MutexGuard<'_, LogIndex> {
        self.index.lock()
    }

    /// The names.
    pub(in crate::store::kurrentdb) fn names(&self) -> &LogNames {
        &self.names
    }
}
