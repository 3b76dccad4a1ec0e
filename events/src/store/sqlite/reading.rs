//! Reading the log: by the threads of an open store, and from files that another process may have.

pub(in crate::store::sqlite) mod dense_positions;
pub(in crate::store::sqlite) mod read_only;
pub(in crate::store::sqlite) mod reader;
