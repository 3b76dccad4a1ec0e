//! The files of a data directory: the log and the databases beside it, and what is done with all of them together.

use std::path::Path;

use super::{
    CompanionDatabase, FillError, OpenError, ProgressCallback, StoreVerification,
    backup::{self, BackupError},
    import::{self, ImportLines},
    restore, verify,
};
use crate::{Ambient, Position, Timestamp};

/// A data directory with the databases beside its log; to verify, a backup's file too.
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

    /// Reads everything after a position and says what does not fit.
    ///
    /// # Errors
    /// When the log cannot be opened at all. Damage that is found once it is open is in the answer.
    pub fn verify(
        self,
        from: Position,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, OpenError> {
        verify::verify(self, from, report)
    }

    /// Copies the store into a new file, and tells what is in it.
    ///
    /// # Errors
    /// A [`BackupError`]; there is no file then.
    pub fn backup(
        self,
        file: &Path,
        now: Timestamp,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, BackupError> {
        backup::backup(self, file, now, report)
    }

    /// Puts what a backup holds, up to a position if one is given, into the empty directory.
    ///
    /// # Errors
    /// A [`FillError`]; the directory is as it was then.
    pub fn restore(
        self,
        file: &Path,
        to: Option<Position>,
        ambient: &Ambient,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, FillError> {
        restore::restore(self, file, to, ambient, report)
    }

    /// Fills the empty directory with the events of lines.
    ///
    /// # Errors
    /// A [`FillError`]; the directory is as it was then.
    pub fn import(
        self,
        lines: ImportLines<'_>,
        ambient: &Ambient,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, FillError> {
        import::import(self, lines, ambient, report)
    }
}
