//! What any SQLite database of a data directory needs, whatever its tables are.
//!
//! | module | holds |
//! |---|---|
//! | [`connection`] | how a file is opened for reading |
//! | [`private`] | files that only their owner reads |
//! | [`new_file`] | a file that gets its name once it is whole |
//! | [`readable`] | whether a file is damaged, or the system only cannot read it |
//! | [`row_checksum`], `row_seal` | checksums of rows |
//! | [`scrub`] | removes the remains of deleted rows from a file |
//! | [`write_ahead`] | how a write-ahead log is kept short |
//! | `sql` | names and paths in SQL |

pub(in crate::store::sqlite) mod connection;
pub(in crate::store::sqlite) mod new_file;
pub mod private;
pub mod readable;
pub mod row_checksum;
pub(in crate::store::sqlite) mod row_seal;
pub mod scrub;
pub(in crate::store::sqlite) mod sql;
pub mod write_ahead;
