//! What this node and others append, in one order.

pub(super) mod current_head;
pub(super) mod follower;
pub(super) mod loss_watch;
pub(super) mod wake_ups;
