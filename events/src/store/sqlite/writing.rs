//! The thread that writes, and the threads that help it.
//!
//! | module | holds |
//! |---|---|
//! | `jobs` | what the writer is asked to do |
//! | `writer` | appends, committed together |
//! | `removal` | truncating, deleting and scrubbing |
//! | `recent_ids` | the newest ids, to recognise repeats |
//! | `checkpoint` | the thread that copies commits into the database file |
//! | `index_check` | the thread that checks the index once |
//! | `log_file`, `recovery`, `witness` | opening the log, and noticing that its end is lost |

pub(in crate::store::sqlite) mod checkpoint;
pub(in crate::store::sqlite) mod index_check;
pub(in crate::store::sqlite) mod jobs;
pub(in crate::store::sqlite) mod log_file;
pub(in crate::store::sqlite) mod recent_ids;
pub(in crate::store::sqlite) mod recovery;
pub(in crate::store::sqlite) mod removal;
pub(in crate::store::sqlite) mod witness;
pub(in crate::store::sqlite) mod writer;
