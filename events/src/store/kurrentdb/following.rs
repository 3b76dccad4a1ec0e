//! Following the log, and what a node keeps of all of it.

pub(super) mod catch_up;
pub(super) mod followed_log;
pub(super) mod follower;
pub(super) mod head_reader;
pub(super) mod log_index;
pub(super) mod position_marks;
pub(super) mod shared_index;
