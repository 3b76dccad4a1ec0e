//! A cluster in one process: a test says who joins and who is taken for dead.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use amoiq_events::{
    Timestamp,
    cluster::{
        ClusterLeases, ClusterView, FencingNumber, HeldLease, LeaseError, LeaseName, LeaseRecord,
        NodeDescription, NodeMembership, NodeRecord,
    },
    store::{Epoch, StoreFuture},
};
use tokio::{sync::watch, time::Instant};

/// The history of every log in a test.
const EPOCH: Epoch = Epoch(1);

/// The nodes and their leases. Clones are one cluster.
#[derive(Clone, Default)]
pub struct MemoryCluster(Arc<Mutex<ClusterState>>);

#[derive(Default)]
struct ClusterState {
    last: u64,
    members: BTreeMap<Arc<str>, Arc<NodeMembership>>,
    leases: BTreeMap<LeaseName, (Arc<str>, HeldLease)>,
    views: BTreeMap<Arc<str>, watch::Sender<Arc<ClusterView>>>,
    /// Since when nobody can look who is there.
    unseen_since: Option<Instant>,
}

/// One node's part.
#[derive(Clone)]
pub struct ClusterNode {
    cluster: MemoryCluster,
    name: Arc<str>,
    view: watch::Receiver<Arc<ClusterView>>,
}

impl MemoryCluster {
    /// A node joins.
    pub fn join(&self, name: &str) -> ClusterNode {
        let mut state = self.state();
        let (sender, view) = watch::channel(Arc::default());
        state.views.insert(name.into(), sender);
        state.admit(name);
        drop(state);
        ClusterNode { cluster: self.clone(), name: name.into(), view }
    }

    /// The others take a node for dead. It knows it once it joins again.
    pub fn remove(&self, name: &str) {
        let mut state = self.state();
        state.members.remove(name);
        state.leases.retain(|_, (holder, _)| **holder != *name);
        state.publish(Some(name));
    }

    /// A node that was taken for dead joins again.
    pub fn rejoin(&self, name: &str) {
        self.state().admit(name);
    }

    /// From now on nobody can look who is there.
    pub fn hide(&self) {
        let mut state = self.state();
        state.unseen_since = Some(Instant::now());
        state.publish(None);
    }

    fn state(&self) -> MutexGuard<'_, ClusterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterState {
    fn admit(&mut self, name: &str) {
        self.last += 1;
        let fencing = FencingNumber { epoch: EPOCH, number: self.last };
        if let Some(before) = self.members.insert(name.into(), Arc::new(NodeMembership::permanent(fencing))) {
            before.end();
        }
        self.publish(None);
    }

    /// Shows everybody who is there, except to one.
    fn publish(&self, except: Option<&str>) {
        let record = |(name, membership): (&Arc<str>, &Arc<NodeMembership>)| NodeRecord {
            description: NodeDescription {
                name: Arc::clone(name),
                address: String::new(),
                level: 1,
                signing: String::new(),
                verifying: Vec::new(),
            },
            fencing: membership.fencing(),
            joined_at: Timestamp::from_millis(0),
            is_silent: false,
            is_draining: false,
            serves: true,
        };
        let nodes: Vec<_> = self.members.iter().map(record).collect();
        for (name, view) in self.views.iter().filter(|(name, _)| Some(&***name) != except) {
            let own = self.members.get(name).cloned();
            let read_at = self.unseen_since;
            let shown = ClusterView { own, nodes: nodes.clone(), read_at, ..ClusterView::default() };
            view.send_replace(Arc::new(shown));
        }
    }
}

impl ClusterNode {
    /// The number of this node's membership now.
    pub fn membership(&self) -> u64 {
        self.cluster.state().members.get(&self.name).map_or(0, |own| own.fencing().number)
    }
}

impl ClusterLeases for ClusterNode {
    fn view(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.clone()
    }

    fn serve(&self) {}

    fn acquire(&self, names: Vec<LeaseName>) -> StoreFuture<Result<Vec<HeldLease>, LeaseError>> {
        let mut state = self.cluster.state();
        let Some(membership) = state.members.get(&self.name).cloned() else {
            return ready(Err(LeaseError::NoMember));
        };
        let mut granted = Vec::new();
        for name in names {
            let fencing = membership.fencing();
            let (holder, lease) = state.leases.entry(name.clone()).or_insert_with(|| {
                (Arc::clone(&self.name), HeldLease::new(name, fencing, Arc::clone(&membership)))
            });
            if *holder == self.name {
                granted.push(lease.clone());
            }
        }
        ready(Ok(granted))
    }

    fn release(&self, leases: Vec<HeldLease>) -> StoreFuture<Result<(), LeaseError>> {
        for lease in leases {
            lease.give_up();
            self.cluster.state().leases.remove(lease.name());
        }
        ready(Ok(()))
    }

    fn leases(&self) -> StoreFuture<Result<Vec<LeaseRecord>, LeaseError>> {
        let state = self.cluster.state();
        let record = |(name, (node, lease)): (&LeaseName, &(Arc<str>, HeldLease))| LeaseRecord {
            name: name.clone(),
            node: Arc::clone(node),
            fencing: lease.fencing(),
            granted_at: Timestamp::from_millis(0),
        };
        ready(Ok(state.leases.iter().map(record).collect()))
    }

    fn leave(&self) -> StoreFuture<Result<(), LeaseError>> {
        self.cluster.remove(&self.name);
        ready(Ok(()))
    }
}

fn ready<T: Send + 'static>(value: T) -> StoreFuture<T> {
    Box::pin(std::future::ready(value))
}
