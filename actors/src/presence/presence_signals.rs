//! Signals of visitors who have not written: they are listed as online, and staff hears of them, with nothing on disk.

use std::sync::Arc;

use amoiq_events::{TenantId, presence::PresenceEvent};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::presence_table::PresenceTable;

/// How many signals wait for whoever hears them, each of at most 256 KiB. At the bound presence waits, and says what
/// there is to say by then.
const MAX_UNHEARD: usize = 16;

/// What is told of visitors who have not written. Cheap to clone.
#[derive(Clone)]
pub struct PresenceSignals {
    pub(super) table: Arc<RwLock<PresenceTable>>,
    heard: mpsc::Sender<PresenceSignal>,
}

/// Some of what is told, of one tenant.
#[derive(Debug, Clone)]
pub struct PresenceSignal {
    /// Whose visitors.
    pub tenant: TenantId,
    /// Who came and who went, in order.
    pub events: Vec<PresenceEvent>,
}

impl PresenceSignals {
    /// With the end at which they are heard. What nobody hears is listed all the same.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PresenceSignal>) {
        let (heard, hears) = mpsc::channel(MAX_UNHEARD);
        (Self { table: Arc::default(), heard }, hears)
    }

    /// Lists what happened, and waits until there is room for whoever hears of it.
    pub(crate) async fn tell(&self, signal: PresenceSignal) {
        self.table.write().signal(&signal.tenant, &signal.events);
        // Nobody listens once the service stops.
        let _stopping = self.heard.send(signal).await;
    }
}
