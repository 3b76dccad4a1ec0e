//! Signals between nodes: which visitors are online on each of them.
//!
//! A signal may be lost and is not in the log, because visitors who have not written make no event. Each node makes its own
//! list known to the others, as entries that change; whoever reads gets the newest state of what changed since it last
//! read, and after a gap all of it. So a lost, late or repeated signal leaves nothing wrong for long.
//!
//! When a node is gone, its entries stay until another node has told about it ([`SignalExchange::forget`]); who is gone is
//! for leases to say.
//!
//! | module | holds |
//! |---|---|
//! | [`memory_signals`] | nodes in one process: for tests and simulations |
//! | [`postgres_signals`] | a table that is not logged, and notifications |

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{TenantId, UserId, presence::UserOnline, store::StoreFuture};

pub mod memory_signals;
pub mod postgres_signals;

pub use memory_signals::MemorySignals;
pub use postgres_signals::{PostgresSignals, SignalOptions};

/// A visitor who is online on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalledVisitor {
    /// What staff are told.
    pub online: UserOnline,
    /// Whether the log says so too: then the log also says when they are gone.
    pub is_logged: bool,
}

/// The newest state of one entry of a node's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryChange {
    /// The tenant.
    pub tenant: TenantId,
    /// The user, as staff see them.
    pub user: UserId,
    /// The visitor; `None` when they are not online there any more.
    pub visitor: Option<SignalledVisitor>,
}

/// What changed on another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntries {
    /// The node's name.
    pub node: Arc<str>,
    /// Its membership: another one after each start.
    pub membership: u64,
    /// Whether these are all of its entries, so that others are gone.
    pub is_whole: bool,
    /// Each entry once.
    pub changes: Vec<EntryChange>,
}

/// What became of published entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// They were added to the earlier ones.
    Added,
    /// There were no earlier ones of this membership: all have to be published again.
    Alone,
}

/// Why signals are not exchanged. Trying again is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// The database gave no answer.
    #[error("signals: {0}")]
    Unavailable(String),
    /// This node is no member of the cluster at the moment.
    #[error("signals: this node is no member of the cluster at the moment")]
    NoMember,
}

/// Exchanges entries with other nodes.
pub trait SignalExchange: Send + Sync + 'static {
    /// The name of this node.
    fn node(&self) -> &Arc<str>;

    /// Makes changes of this node's entries known. At most [`MAX_PUBLISHED`] at a time.
    fn publish(&self, changes: Vec<EntryChange>) -> StoreFuture<Result<PublishOutcome, SignalError>>;

    /// What changed on other nodes since this was last read; a node without a change is not in it. Of a long list it
    /// returns a part; the next call goes on.
    fn read(&self) -> StoreFuture<Result<Vec<NodeEntries>, SignalError>>;

    /// Removes the entries of a node that is gone, unless it has come back with another membership.
    fn forget(&self, node: Arc<str>, membership: u64) -> StoreFuture<Result<(), SignalError>>;

    /// Wakes whoever reads when there is something new. A wake-up can be lost.
    fn wake_ups(&self) -> watch::Receiver<u64>;
}

/// The most entries that are published at once.
pub const MAX_PUBLISHED: usize = 1_000;
