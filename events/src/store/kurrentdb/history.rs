//! Which history the log has, and what a start does when the log lacks some of what this node knew.

pub(super) mod epoch_change;
pub(super) mod known_log;
pub(super) mod log_epochs;
