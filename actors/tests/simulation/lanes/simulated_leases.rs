//! Leases of several nodes that are taken for dead, cut off, or leave, while everything else goes on.
//!
//! A node that is taken for dead does not notice for a while, and believes in its leases although others have them: longer
//! than a real one does, whose own clock stops it before. What it records meanwhile is refused, as the database refuses it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use amoiq_events::{
    Timestamp,
    cluster::{
        ClusterLeases, ClusterView, FencingNumber, HeldLease, LeaseError, LeaseName, LeaseRecord,
        NodeDescription, NodeMembership, NodeRecord,
    },
    store::{Epoch, StoreFuture},
};
use amoiq_testkit::stores::SeededDice;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Longer than any run.
const LONG: Duration = Duration::from_secs(1_000_000);

/// The nodes and their leases; clones are the same.
#[derive(Clone)]
pub(super) struct LeaseTable(Arc<Mutex<LeaseState>>);

struct LeaseState {
    epoch: Epoch,
    last_number: u64,
    nodes: Vec<SimulatedMember>,
    held: BTreeMap<LeaseName, HeldLease>,
    releases: u64,
}

struct SimulatedMember {
    membership: Arc<NodeMembership>,
    is_registered: bool,
    view: watch::Sender<Arc<ClusterView>>,
}

impl LeaseTable {
    /// Without nodes.
    pub(super) fn new(epoch: Epoch) -> Self {
        let state =
            LeaseState { epoch, last_number: 0, nodes: Vec::new(), held: BTreeMap::new(), releases: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// So many nodes join; those of a life before are gone.
    pub(super) fn start(&self, nodes: usize) -> Vec<SimulatedNode> {
        let mut state = self.state();
        state.held.clear();
        state.nodes.clear();
        for _ in 0..nodes {
            let membership = state.new_membership();
            state.nodes.push(SimulatedMember {
                membership,
                is_registered: true,
                view: watch::Sender::new(Arc::default()),
            });
        }
        state.publish();
        (0..nodes).map(|node| SimulatedNode { table: self.clone(), node }).collect()
    }

    /// Whether what is recorded under a lease is written.
    pub(super) fn guards(&self, lease: &HeldLease) -> bool {
        self.state().held.get(lease.name()).is_some_and(|held| held.fencing() == lease.fencing())
    }

    /// Something happens to a node, and passes.
    pub(super) async fn disturb(&self, dice: &SeededDice) {
        let node = usize::try_from(dice.below(self.state().nodes.len() as u64)).expect("few");
        let pause = dice.millis_below(800);
        match dice.below(3) {
            0 => {
                // The others take over, and it does not know.
                self.state().remove(node);
                sleep(pause).await;
                self.state().rejoin(node);
            }
            1 => {
                // It cannot renew, and nobody takes over.
                let membership = Arc::clone(&self.state().nodes[node].membership);
                membership.extend(Instant::now());
                sleep(pause).await;
                membership.extend(Instant::now() + LONG);
            }
            _ => {
                self.state().nodes[node].membership.end();
                self.state().remove(node);
                sleep(pause).await;
                self.state().rejoin(node);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, LeaseState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseState {
    fn next(&mut self) -> FencingNumber {
        self.last_number += 1;
        FencingNumber { epoch: self.epoch, number: self.last_number }
    }

    fn new_membership(&mut self) -> Arc<NodeMembership> {
        let fencing = self.next();
        Arc::new(NodeMembership::until(fencing, Instant::now() + LONG))
    }

    fn remove(&mut self, node: usize) {
        self.nodes[node].is_registered = false;
        let member = &self.nodes[node];
        self.held.retain(|_, lease| !member.has(lease));
        self.publish();
    }

    fn rejoin(&mut self, node: usize) {
        let membership = self.new_membership();
        let member = &mut self.nodes[node];
        member.membership.end();
        member.membership = membership;
        member.is_registered = true;
        self.publish();
    }

    fn publish(&self) {
        let record = |(number, member): (usize, &SimulatedMember)| NodeRecord {
            description: NodeDescription::named(&format!("node-{number}")),
            fencing: member.membership.fencing(),
            joined_at: Timestamp::from_millis(0),
            is_silent: false,
            is_draining: false,
            serves: true,
        };
        let registered = self.nodes.iter().enumerate().filter(|(_, member)| member.is_registered);
        let nodes: Vec<_> = registered.map(record).collect();
        for member in &self.nodes {
            let own = Some(Arc::clone(&member.membership));
            member.view.send_replace(Arc::new(ClusterView {
                own,
                nodes: nodes.clone(),
                releases: self.releases,
                read_at: None,
            }));
        }
    }
}

impl SimulatedMember {
    fn has(&self, lease: &HeldLease) -> bool {
        lease.membership() == self.membership.fencing()
    }
}

/// One node's part.
pub(super) struct SimulatedNode {
    table: LeaseTable,
    node: usize,
}

impl ClusterLeases for SimulatedNode {
    fn view(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.table.state().nodes[self.node].view.subscribe()
    }

    fn serve(&self) {}

    fn acquire(&self, names: Vec<LeaseName>) -> StoreFuture<Result<Vec<HeldLease>, LeaseError>> {
        let mut state = self.table.state();
        let member = &state.nodes[self.node];
        if !member.is_registered || !member.membership.is_valid() {
            return Box::pin(std::future::ready(Err(LeaseError::NoMember)));
        }
        let membership = Arc::clone(&member.membership);
        let mut granted = Vec::new();
        for name in names {
            let lease = match state.held.get(&name) {
                Some(held) => held.clone(),
                None => HeldLease::new(name.clone(), state.next(), Arc::clone(&membership)),
            };
            if state.nodes[self.node].has(&lease) {
                state.held.insert(name, lease.clone());
                granted.push(lease);
            }
        }
        Box::pin(std::future::ready(Ok(granted)))
    }

    fn release(&self, leases: Vec<HeldLease>) -> StoreFuture<Result<(), LeaseError>> {
        let mut state = self.table.state();
        for lease in leases {
            lease.give_up();
            if state.held.get(lease.name()).is_some_and(|held| held.fencing() == lease.fencing()) {
                state.held.remove(lease.name());
            }
        }
        state.releases += 1;
        state.publish();
        Box::pin(std::future::ready(Ok(())))
    }

    fn leases(&self) -> StoreFuture<Result<Vec<LeaseRecord>, LeaseError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn leave(&self) -> StoreFuture<Result<(), LeaseError>> {
        self.table.state().remove(self.node);
        Box::pin(std::future::ready(Ok(())))
    }
}
