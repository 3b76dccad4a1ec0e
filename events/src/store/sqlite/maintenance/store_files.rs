//! The files of a data directory: the log and the databases beside it. Each operation on all of them together has a file of
//! its own: verify, backup, restore, import.

use std::path::Path;

use crate::store::sqlite::maintenance::companion::CompanionDatabase;

/// A data directory with the databases beside its log; for verification also a backup's file.
#[derive(Debug, Clone, Copy)]
pub struct StoreFiles<'a> {
    pub(super) path: &'a Path,
    pub(super) companions: &'a [CompanionDatabase],
}

impl<'a> StoreFiles<'a> {
    /// The log in a directory, or the file of a backup, and these databases.
    #[must_use]
    pub fn new(path: &'a Path, companions: &'a [CompanionDatabase]) -> Self {
        Self { path, companions }
    }
}
