//! Leases as everybody uses them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    cluster::{
        lease::{HeldLease, LeaseError, LeaseName, LeaseRecord},
        node::ClusterView,
    },
    store::StoreFuture,
};

/// This node's part in the cluster: what it holds, and who else is there.
pub trait ClusterLeases: Send + Sync {
    /// The nodes. It changes when one joins, leaves, falls silent or is removed, and when this one joins again.
    fn view(&self) -> watch::Receiver<Arc<ClusterView>>;

    /// Says that this node can do work from now on: before, no lease is rather for it, and other nodes keep what they have.
    fn serve(&self);

    /// Asks for leases; grants those that no other node has. One that this node has already is given again.
    fn acquire(&self, names: Vec<LeaseName>) -> StoreFuture<Result<Vec<HeldLease>, LeaseError>>;

    /// Gives leases back. They are over on this node from the call on, also when the database does not answer; then
    /// others get them when this node leaves.
    fn release(&self, leases: Vec<HeldLease>) -> StoreFuture<Result<(), LeaseError>>;

    /// All leases of all nodes, by name.
    fn leases(&self) -> StoreFuture<Result<Vec<LeaseRecord>, LeaseError>>;

    /// This node leaves soon, and stays a member until then. It gives its leases back now and is granted no more, as long as
    /// another node is there that stays. Leases of one kind are not touched: their holders see that the others are preferred
    /// now, and hand over what they are doing. A node that is alone keeps everything.
    fn drain(&self, _handed_over: &'static str) -> StoreFuture<Result<(), LeaseError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Ends this node's membership and with it all of its leases: others get them at once. It does not join again.
    fn leave(&self) -> StoreFuture<Result<(), LeaseError>>;
}
