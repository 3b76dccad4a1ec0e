//! What operators do with the files of a store: verify, back up, restore, export, import, repair.
//!
//! | module | holds |
//! |---|---|
//! | `store_files` | a data directory: the log and the databases beside it |
//! | `companion` | a database beside the log |
//! | `verify`, `verification` | checks everything, and reports what does not fit |
//! | `log_elsewhere` | the same for a directory whose log is in a database |
//! | `backup`, `restore` | one file with a whole store, and the way back |
//! | `export`, `import` | lines of JSON |
//! | `fresh` | a store that appears whole or not at all |

pub(in crate::store::sqlite) mod backup;
pub(in crate::store::sqlite) mod companion;
pub(in crate::store::sqlite) mod export;
pub(in crate::store::sqlite) mod fresh;
pub(in crate::store::sqlite) mod import;
pub(in crate::store::sqlite) mod log_elsewhere;
pub(in crate::store::sqlite) mod restore;
pub(in crate::store::sqlite) mod store_files;
pub(in crate::store::sqlite) mod verification;
pub(in crate::store::sqlite) mod verify;
