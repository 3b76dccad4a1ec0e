//! Signals between nodes in one process: for tests and simulations.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{EntryChange, NodeEntries, PublishOutcome, SignalError, SignalExchange, SignalledVisitor};
use crate::{TenantId, UserId, store::StoreFuture};

/// One node's part. [`MemorySignals::node`] makes others.
#[derive(Clone)]
pub struct MemorySignals {
    shared: Arc<SharedEntries>,
    node: Arc<str>,
    membership: Arc<AtomicU64>,
    /// Up to which change each node was read.
    seen: Arc<Mutex<SeenChanges>>,
}

/// Of each node: its list, and the number of the newest change.
type SeenChanges = BTreeMap<Arc<str>, (u64, u64)>;

struct SharedEntries {
    nodes: Mutex<BTreeMap<Arc<str>, StoredEntries>>,
    /// The newest membership of each node that was forgotten.
    forgotten: Mutex<BTreeMap<Arc<str>, u64>>,
    /// How many lists there were.
    lists: AtomicU64,
    changes: watch::Sender<u64>,
}

/// The entries of a node.
#[derive(Default)]
struct StoredEntries {
    membership: u64,
    /// Another one each time that the node starts from nothing.
    list: u64,
    last: u64,
    entries: BTreeMap<(TenantId, UserId), (u64, Option<SignalledVisitor>)>,
}

impl MemorySignals {
    /// The first node.
    #[must_use]
    pub fn new(node: &str, membership: u64) -> Self {
        let (nodes, forgotten) = (Mutex::default(), Mutex::default());
        let (lists, changes) = (AtomicU64::new(0), watch::Sender::new(0));
        let shared = Arc::new(SharedEntries { nodes, forgotten, lists, changes });
        Self::on(shared, node, membership)
    }

    /// Another node.
    #[must_use]
    pub fn node(&self, node: &str, membership: u64) -> Self {
        Self::on(Arc::clone(&self.shared), node, membership)
    }

    fn on(shared: Arc<SharedEntries>, node: &str, membership: u64) -> Self {
        Self { shared, node: node.into(), membership: Arc::new(membership.into()), seen: Arc::default() }
    }

    /// The node has another membership from now on.
    pub fn rejoin(&self, membership: u64) {
        self.membership.store(membership, Ordering::SeqCst);
    }

    /// Loses everything, as a database does that crashes.
    pub fn crash(&self) {
        self.shared.nodes.lock().clear();
    }

    fn news(&self) -> Vec<NodeEntries> {
        let (nodes, mut seen) = (self.shared.nodes.lock(), self.seen.lock());
        let others = nodes.iter().filter(|(node, _)| **node != self.node);
        let news = others.filter_map(|(node, stored)| {
            let known = seen.insert(Arc::clone(node), (stored.list, stored.last));
            let known = known.filter(|(list, _)| *list == stored.list);
            if known.is_some_and(|(_, last)| last == stored.last) {
                return None;
            }
            let after = known.map_or(0, |(_, last)| last);
            let later = stored.entries.iter().filter(|(_, (number, _))| *number > after);
            let change = |((tenant, user), (_, visitor)): (&(TenantId, UserId), &(u64, Option<_>))| {
                EntryChange { tenant: tenant.clone(), user: user.clone(), visitor: visitor.clone() }
            };
            Some(NodeEntries {
                node: Arc::clone(node),
                membership: stored.membership,
                is_whole: known.is_none(),
                changes: later.map(change).collect(),
            })
        });
        news.collect()
    }
}

impl SignalExchange for MemorySignals {
    fn node(&self) -> &Arc<str> {
        &self.node
    }

    fn publish(&self, changes: Vec<EntryChange>) -> StoreFuture<Result<PublishOutcome, SignalError>> {
        let membership = self.membership.load(Ordering::SeqCst);
        if self.shared.forgotten.lock().get(&self.node).is_some_and(|forgotten| membership <= *forgotten) {
            return answer(Err(SignalError::NoMember));
        }
        let mut nodes = self.shared.nodes.lock();
        let stored = nodes.entry(Arc::clone(&self.node)).or_default();
        let is_known = stored.membership == membership;
        if !is_known {
            let list = self.shared.lists.fetch_add(1, Ordering::SeqCst);
            *stored = StoredEntries { membership, list, ..StoredEntries::default() };
        }
        stored.last += 1;
        for EntryChange { tenant, user, visitor } in changes {
            stored.entries.insert((tenant, user), (stored.last, visitor));
        }
        drop(nodes);
        self.shared.changes.send_modify(|changes| *changes += 1);
        answer(Ok(if is_known { PublishOutcome::Added } else { PublishOutcome::Alone }))
    }

    fn read(&self) -> StoreFuture<Result<Vec<NodeEntries>, SignalError>> {
        answer(Ok(self.news()))
    }

    fn forget(&self, node: Arc<str>, membership: u64) -> StoreFuture<Result<(), SignalError>> {
        let mut nodes = self.shared.nodes.lock();
        if nodes.get(&node).is_some_and(|stored| stored.membership == membership) {
            nodes.remove(&node);
        }
        self.shared.forgotten.lock().insert(node, membership);
        answer(Ok(()))
    }

    fn wake_ups(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

fn answer<T: Send + 'static>(value: T) -> StoreFuture<T> {
    Box::pin(std::future::ready(value))
}
