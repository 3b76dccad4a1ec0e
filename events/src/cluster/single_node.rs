//! One node on a store that no other process can open: it has every lease, for ever.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Ambient, Timestamp,
    cluster::{
        lease::{FencingNumber, HeldLease, LeaseError, LeaseName, LeaseRecord, NodeMembership},
        leases::ClusterLeases,
        node::{ClusterView, NodeDescription, NodeRecord},
    },
    store::{Epoch, StoreFuture},
};

/// Grants everything.
pub struct SingleNode {
    ambient: Ambient,
    membership: Arc<NodeMembership>,
    name: Arc<str>,
    view: watch::Sender<Arc<ClusterView>>,
    granted: Mutex<BTreeMap<LeaseName, Timestamp>>,
}

impl SingleNode {
    /// The only node of a log.
    #[must_use]
    pub fn new(description: NodeDescription, epoch: Epoch, ambient: &Ambient) -> Self {
        let fencing = FencingNumber { epoch, number: 1 };
        let membership = Arc::new(NodeMembership::permanent(fencing));
        let name = Arc::clone(&description.name);
        let joined_at = ambient.now();
        let (is_silent, serves, is_draining) = (false, true, false);
        let nodes = vec![NodeRecord { description, fencing, joined_at, is_silent, serves, is_draining }];
        let view = ClusterView { own: Some(Arc::clone(&membership)), nodes, ..ClusterView::default() };
        Self {
            ambient: ambient.clone(),
            membership,
            name,
            view: watch::Sender::new(Arc::new(view)),
            granted: Mutex::default(),
        }
    }

    fn answer<T: Send + 'static>(&self, answer: T) -> StoreFuture<Result<T, LeaseError>> {
        let answer = if self.membership.is_over() { Err(LeaseError::NoMember) } else { Ok(answer) };
        Box::pin(std::future::ready(answer))
    }
}

impl ClusterLeases for SingleNode {
    fn view(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.subscribe()
    }

    fn serve(&self) {}

    fn acquire(&self, names: Vec<LeaseName>) -> StoreFuture<Result<Vec<HeldLease>, LeaseError>> {
        let now = self.ambient.now();
        let mut granted = self.granted.lock();
        let grant = |name: LeaseName| {
            granted.entry(name.clone()).or_insert(now);
            HeldLease::new(name, self.membership.fencing(), Arc::clone(&self.membership))
        };
        self.answer(names.into_iter().map(grant).collect())
    }

    fn release(&self, leases: Vec<HeldLease>) -> StoreFuture<Result<(), LeaseError>> {
        let mut granted = self.granted.lock();
        for lease in leases {
            lease.give_up();
            granted.remove(lease.name());
        }
        self.answer(())
    }

    fn leases(&self) -> StoreFuture<Result<Vec<LeaseRecord>, LeaseError>> {
        let granted = self.granted.lock();
        let record = |(name, granted_at): (&LeaseName, &Timestamp)| LeaseRecord {
            name: name.clone(),
            node: Arc::clone(&self.name),
            fencing: self.membership.fencing(),
            granted_at: *granted_at,
        };
        self.answer(granted.iter().map(record).collect())
    }

    fn leave(&self) -> StoreFuture<Result<(), LeaseError>> {
        self.membership.end();
        self.granted.lock().clear();
        Box::pin(std::future::ready(Ok(())))
    }
}
