//! What a process that has opened a store can do beyond reading, appending and maintenance.

use std::sync::Arc;

use super::{EventStore, StoreMeter};

/// A backend that a process has opened for writing.
pub trait OpenedStore: EventStore {
    /// What operators count of it.
    fn meter(&self) -> &Arc<StoreMeter>;

    /// Waits for what is queued. Appends are refused from then on. A second call does nothing.
    fn close(&self);
}
