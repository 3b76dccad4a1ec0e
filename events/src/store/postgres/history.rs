//! Which history the log has, what of it this node knows, and what happens when the log lacks some of that.

pub(super) mod end_file;
pub(super) mod end_trail;
pub(super) mod epoch_change;
pub(super) mod epoch_table;
pub(super) mod known_end;
