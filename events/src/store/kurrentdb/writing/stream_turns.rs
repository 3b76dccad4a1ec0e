//! Appends to one stream go one after the other: each expects the revision that the one before it leaves. Those to other
//! streams go beside them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as TurnMutex, OwnedMutexGuard};

use crate::StreamName;

/// Who may write to which stream.
#[derive(Default)]
pub(in crate::store::kurrentdb) struct StreamTurns {
    turns: Mutex<foldhash::HashMap<StreamName, Arc<TurnMutex<()>>>>,
}

/// The turn of one writer, until it is dropped.
pub(in crate::store::kurrentdb) struct StreamTurn<'a> {
    turns: &'a StreamTurns,
    stream: StreamName,
    held: Option<OwnedMutexGuard<()>>,
}

impl StreamTurns {
    /// Waits for a stream.
    pub(in crate::store::kurrentdb) async fn take(&self, stream: &StreamName) -> StreamTurn<'_> {
        let turn = Arc::clone(self.turns.lock().entry(stream.clone()).or_default());
        StreamTurn { turns: self, stream: stream.clone(), held: Some(turn.lock_owned().await) }
    }
}

impl Drop for StreamTurn<'_> {
    fn drop(&mut self) {
        let mut turns = self.turns.turns.lock();
        self.held = None;
        // Whoever waits holds it too.
        if turns.get(&self.stream).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.stream);
        }
    }
}
