//! Reads the log: in the threads of an open store, and from files that another process may have open.

pub(in crate::store::sqlite) mod read_only;
pub(in crate::store::sqlite) mod reader;
