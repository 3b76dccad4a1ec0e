//! What goes wrong when a test says so.

use std::{collections::VecDeque, time::Duration};

/// What happens to one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFault {
    /// The node is not the leader, and says who is.
    NotLeader,
    /// The node is not the leader, and does not say who is.
    NotLeaderWithoutAddress,
    /// The node is not the leader, and knows none.
    NoLeader,
    /// The server's own time is over, before it was written or after.
    Aborted {
        /// Whether it was written.
        is_written: bool,
    },
    /// The caller's deadline is over.
    DeadlineExceeded {
        /// Whether it was written.
        is_written: bool,
    },
    /// Every connection to the node breaks.
    Disconnected {
        /// Whether it was written.
        is_written: bool,
    },
    /// It is written, and nobody says so.
    Unanswered,
    /// It is written, and the answer has neither a revision nor a position.
    EmptyAnswer,
    /// It is written, and the answer has no position.
    NoPosition,
}

/// How subscriptions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionEnd {
    /// Well.
    Clean,
    /// With an error.
    Failed,
}

/// What is planned.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    /// For the next appends to the log, in order.
    pub(super) appends: VecDeque<AppendFault>,
    /// For the next changes of streams' metadata.
    pub(super) metadata: VecDeque<AppendFault>,
    /// How long each answer is held.
    pub(super) delay: Duration,
    /// Whether subscriptions bring nothing, and stay open.
    pub(super) are_subscriptions_silent: bool,
}
