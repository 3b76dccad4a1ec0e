//! Appending and removing, over one connection.

pub(super) mod append_group;
pub(super) mod appender;
pub(super) mod log_change;
