//! What the log writes into the database: the names of its streams, and its records.

pub(super) mod log_names;
pub(super) mod log_record;
