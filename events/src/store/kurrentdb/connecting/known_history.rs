//! How far this node knows the log to be. A server that lacks this much has another log: it was restored, or a failover lost
//! the end. A subscription from a place beyond the end would say nothing of that, and be silent.

use parking_lot::Mutex;
use uuid::Uuid;

use crate::store::Epoch;

/// The newest record that this node has followed. A scavenge leaves the newest record of the log alone, because it is the
/// last one of its stream.
pub(in crate::store::kurrentdb) struct KnownHistory {
    epoch: Epoch,
    newest: Mutex<(u64, Uuid)>,
}

impl KnownHistory {
    pub(in crate::store::kurrentdb) fn new(epoch: Epoch, position: u64, id: Uuid) -> Self {
        Self { epoch, newest: Mutex::new((position, id)) }
    }

    /// The history.
    pub(in crate::store::kurrentdb) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest record.
    pub(in crate::store::kurrentdb) fn newest(&self) -> (u64, Uuid) {
        *self.newest.lock()
    }

    /// Whether a record comes after it.
    pub(in crate::store::kurrentdb) fn is_news(&self, position: u64) -> bool {
        position > self.newest.lock().0
    }

    /// Notes that a record was followed.
    pub(in crate::store::kurrentdb) fn reach(&self, position: u64, id: Uuid) {
        *self.newest.lock() = (position, id);
    }
}
