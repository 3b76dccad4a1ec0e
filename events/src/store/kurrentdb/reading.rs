//! Reading the log and its streams.

pub(super) mod log_reads;
pub(super) mod log_seek;
pub(super) mod stream_reads;
