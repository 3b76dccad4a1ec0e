//! Signals: announcements of visitors who have not written. They are listed as online and sent to staff, and nothing is
//! written to disk. Where there are several nodes, those of the others arrive here too.

use std::sync::Arc;

use amoiq_events::ShortText;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::online_tables::{OnlineTables, PresenceSignal};

/// How many signals, each of at most 256 KiB, wait for the receiver. At the bound presence waits, and then announces what is
/// pending by then.
const MAX_WAITING_SIGNALS: usize = 16;

/// Sends signals and lists their visitors. Cheap to clone.
#[derive(Clone)]
pub struct PresenceSignals {
    pub(super) table: Arc<RwLock<OnlineTables>>,
    sender: mpsc::Sender<PresenceSignal>,
}

impl PresenceSignals {
    /// Signals, and where they are received. They are listed even if nothing receives them.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PresenceSignal>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_SIGNALS);
        (Self { table: Arc::default(), sender }, receiver)
    }

    /// Lists the visitors of this node, and waits until the receiver has room.
    pub(crate) async fn send(&self, PresenceSignal { tenant, events }: PresenceSignal) {
        let events = self.table.write().signal(&tenant, events);
        if !events.is_empty() {
            self.tell(PresenceSignal { tenant, events }).await;
        }
    }

    /// Waits until the receiver has room.
    pub(super) async fn tell(&self, signal: PresenceSignal) {
        // There is no receiver once the service stops.
        let _stopping = self.sender.send(signal).await;
    }

    /// This node under its membership, where there are others.
    pub(super) fn node(&self) -> Option<ShortText> {
        self.table.read().node().and_then(|node| ShortText::cut(node))
    }
}
