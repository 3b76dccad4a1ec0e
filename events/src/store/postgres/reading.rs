//! Reading, over a few connections.

pub(super) mod event_rows;
pub(super) mod log_reads;
pub(super) mod session_pool;
