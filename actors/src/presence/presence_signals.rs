//! Signals: announcements of visitors who have not written. They are listed as online and sent to staff, and nothing is
//! written to disk.

use std::sync::Arc;

use amoiq_events::{TenantId, presence::PresenceEvent};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::presence_table::PresenceTable;

/// How many signals, each of at most 256 KiB, wait for the receiver. At the bound presence waits, and then announces what is
/// pending by then.
const MAX_WAITING_SIGNALS: usize = 16;

/// Sends signals and lists their visitors. Cheap to clone.
#[derive(Clone)]
pub struct PresenceSignals {
    pub(super) table: Arc<RwLock<PresenceTable>>,
    sender: mpsc::Sender<PresenceSignal>,
}

/// Announcements of one tenant.
#[derive(Debug, Clone)]
pub struct PresenceSignal {
    /// The tenant.
    pub tenant: TenantId,
    /// Visitors who came online or went offline, in order.
    pub events: Vec<PresenceEvent>,
}

impl PresenceSignals {
    /// Signals, and where they are received. They are listed even if nothing receives them.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PresenceSignal>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_SIGNALS);
        (Self { table: Arc::default(), sender }, receiver)
    }

    /// Lists the visitors, and waits until the receiver has room.
    pub(crate) async fn send(&self, signal: PresenceSignal) {
        self.table.write().signal(&signal.tenant, &signal.events);
        // There is no receiver once the service stops.
        let _stopping = self.sender.send(signal).await;
    }
}
