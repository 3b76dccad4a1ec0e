//! Leases, and for how long a node may rely on them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{Timestamp, store::Epoch};

/// What a lease is of: a kind of work, and which.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseName(Arc<str>);

impl LeaseName {
    /// `KIND/OF`
    #[must_use]
    pub fn new(kind: &str, of: &str) -> Self {
        Self(format!("{kind}/{of}").into())
    }

    /// Says that a node leaves soon: nobody else asks for it.
    pub(crate) fn of_drain(membership: FencingNumber) -> Self {
        Self::new("drain", &membership.number.to_string())
    }

    /// Its kind of work.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// A name as it is stored.
    pub(crate) fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Names one grant, of a lease or of a node's membership. Numbers rise within an epoch, and are as high as the time in
/// microseconds, so that a failover that loses grants gives none of their numbers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FencingNumber {
    /// The history of the log.
    pub epoch: Epoch,
    /// The number.
    pub number: u64,
}

/// The membership of a node, from its joining until it leaves or is taken for dead. Everything that it was granted
/// meanwhile depends on it.
#[derive(Debug)]
pub struct NodeMembership {
    fencing: FencingNumber,
    /// Until when the node may rely on it; without a time it may for ever.
    until: Mutex<Option<Instant>>,
    is_over: AtomicBool,
}

impl NodeMembership {
    /// A membership that lasts until then.
    #[must_use]
    pub fn until(fencing: FencingNumber, until: Instant) -> Self {
        Self { fencing, until: Mutex::new(Some(until)), is_over: AtomicBool::new(false) }
    }

    /// A membership that nobody ends.
    #[must_use]
    pub fn permanent(fencing: FencingNumber) -> Self {
        Self { fencing, until: Mutex::new(None), is_over: AtomicBool::new(false) }
    }

    /// The node's own number.
    #[must_use]
    pub fn fencing(&self) -> FencingNumber {
        self.fencing
    }

    /// Renews it.
    pub fn extend(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }

    /// Ends it, for good.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether it is over for good: it is not renewed any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Whether the node may rely on it now. One that is not over may become valid again.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.is_over() && self.until.lock().is_none_or(|until| Instant::now() < until)
    }
}

/// A lease that this node was granted.
#[derive(Debug, Clone)]
pub struct HeldLease(Arc<GrantedLease>);

#[derive(Debug)]
struct GrantedLease {
    name: LeaseName,
    fencing: FencingNumber,
    membership: Arc<NodeMembership>,
    is_given_up: AtomicBool,
}

impl HeldLease {
    /// A lease that was granted to a member.
    #[must_use]
    pub fn new(name: LeaseName, fencing: FencingNumber, membership: Arc<NodeMembership>) -> Self {
        Self(Arc::new(GrantedLease { name, fencing, membership, is_given_up: AtomicBool::new(false) }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        &self.0.name
    }

    /// What is checked in a transaction that it guards.
    #[must_use]
    pub fn fencing(&self) -> FencingNumber {
        self.0.fencing
    }

    /// The membership that it depends on.
    #[must_use]
    pub fn membership(&self) -> FencingNumber {
        self.0.membership.fencing()
    }

    /// Whether the work may be done now. It can be so again after it was not: while the database was away, for example,
    /// and nobody took over.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.is_over() && self.0.membership.is_valid()
    }

    /// Whether it is over for good.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_given_up.load(Ordering::Acquire) || self.0.membership.is_over()
    }

    /// Ends it on this node: it was released, or the database says that another node has it.
    pub fn give_up(&self) {
        self.0.is_given_up.store(true, Ordering::Release);
    }
}

/// A lease as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Its name.
    pub name: LeaseName,
    /// The name of the node that has it.
    pub node: Arc<str>,
    /// The grant.
    pub fencing: FencingNumber,
    /// When it was granted, by the database's clock.
    pub granted_at: Timestamp,
}

/// Why a lease was not granted, and nothing can be said about others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The database gave no answer. A lease may have been granted: asking again tells.
    #[error("leases: {0}")]
    Unavailable(String),
    /// This node is no member at the moment: it could not renew its membership, or has left.
    #[error("leases: this node is no member of the cluster at the moment")]
    NoMember,
}
