//! What this node and others append, in one order.

pub(super) mod follower;
pub(super) mod wake_ups;
