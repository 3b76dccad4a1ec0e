//! Work that one node at a time does: closing what nobody continues, removing what is old.
//!
//! Whoever has the lease does it, and goes on doing it as long as it lives. What two nodes do of it all the same, because one
//! was stopped in between, does no harm: each change is decided by the session's own rules.

use std::sync::Arc;

use amoiq_events::cluster::{ClusterLeases, HeldLease, LeaseName};

/// A duty, and this node's part in it. Cheap to clone.
#[derive(Clone)]
pub struct NodeDuty {
    leases: Arc<dyn ClusterLeases>,
    lease: LeaseName,
}

impl NodeDuty {
    /// A duty by its name.
    #[must_use]
    pub fn new(leases: Arc<dyn ClusterLeases>, name: &str) -> Self {
        Self { leases, lease: LeaseName::new("duty", name) }
    }

    /// The lease, if this node has it or gets it now. Nothing while another has it, or while the database does not answer.
    pub(crate) async fn take(&self) -> Option<HeldLease> {
        let granted = self.leases.acquire(vec![self.lease.clone()]).await.unwrap_or_default();
        granted.into_iter().find(HeldLease::is_valid)
    }
}
