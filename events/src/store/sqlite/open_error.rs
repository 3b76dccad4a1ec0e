//! Why a store cannot be opened, and what is to be done about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    files::{
        readable::{self, UnreadableFile},
        row_seal,
    },
    lock::LockHolder,
};
use crate::{Position, store::ReadError};

/// What to do about a log that cannot be read.
const RESTORE: &str = "move the directory away and restore the store from a backup (`amoiq restore`)";

/// What to do about a file that cannot be read.
const LOOK_AT_THE_DISK: &str = "this does not mean damage, so do not restore anything: check the disk (the system's log \
    names it) and try again";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the store.
    #[error("{} is in use by another process{}: only one can use a store", .0.display(), .1)]
    InUse(PathBuf, LockHolder),
    /// A database of another release. Only opening it for writing brings an older one up to date.
    #[error("log.db has schema {found}, this release reads {known}: {advice}", advice = other_release(*found, *known))]
    Schema {
        /// What is there.
        found: i64,
        /// What this release writes.
        known: i64,
    },
    /// The end of the log, from which the index is built, cannot be read.
    #[error("{0}: {RESTORE}")]
    Damaged(ReadError),
    /// The system cannot read the file.
    #[error("{0}: {LOOK_AT_THE_DISK}")]
    Unreadable(UnreadableFile),
    /// SQLite refused.
    #[error("log.db: {0}{advice}", advice = advice(.0))]
    Database(rusqlite::Error),
    /// A row of the index, or of what the store records about itself, is not what was written.
    #[error("log.db: a row of `{table}` is damaged: stop the service and run `amoiq verify --repair`")]
    IndexDamaged {
        /// The table.
        table: &'static str,
    },
    /// Events were acknowledged, and there is no log.
    #[error("log.db is gone or empty, although {0} positions were acknowledged: {RESTORE}")]
    Gone(Position),
    /// A restore or an import was killed before the log had its name.
    #[error("a restore or an import into {} was interrupted: run it again (`amoiq restore`, `amoiq events import`)", .0.display())]
    Unfinished(PathBuf),
    /// Nothing was ever written to it.
    #[error("{} is empty: it contains no log", .0.display())]
    Empty(PathBuf),
    /// A database that somebody else made.
    #[error("{} is not a log of amoiq", .0.display())]
    Foreign(PathBuf),
    /// There is no such file.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// A write-ahead log that cannot be read where nothing can be written.
    #[error("{} has a write-ahead log, which is read only where files can be made: copy the directory", .0.display())]
    Unshared(PathBuf),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match row_seal::damaged_row(&error) {
            Some(row) => Self::IndexDamaged { table: row.table },
            None => Self::Database(error),
        }
    }
}

impl OpenError {
    /// Whether the file is not what was written.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::IndexDamaged { .. } => true,
            Self::Database(error) => row_seal::is_damage(error),
            _ => false,
        }
    }

    /// The same error, or [`Self::Unreadable`] if the file only seems damaged because the system cannot read it.
    pub(super) fn judged(self, path: &Path) -> Self {
        let is_doubtful = match &self {
            Self::Database(error) => row_seal::is_damage(error) || readable::is_io(error),
            Self::Damaged(error) => error.is_about_the_file(),
            Self::IndexDamaged { .. } => true,
            _ => false,
        };
        let found = if is_doubtful { readable::find(path) } else { None };
        found.map_or(self, Self::Unreadable)
    }
}

fn other_release(found: i64, known: i64) -> &'static str {
    if found < known {
        "start the service on it once, which brings it up to date, or run the release that wrote it"
    } else {
        "run the release that wrote it"
    }
}

/// What to do about an error of SQLite's.
fn advice(error: &rusqlite::Error) -> String {
    if row_seal::is_damage(error) { format!(": {RESTORE}") } else { String::new() }
}
