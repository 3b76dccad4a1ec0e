//! Why a database refused something, and whether the cause is damage or the disk.

use std::sync::Arc;

use amoiq_events::store::sqlite::readable::{self, FileReadability, UnreadableFile};
use rusqlite::ErrorCode;

/// Why a database refused something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite's error. Shared, because every change of a failed commit gets it.
    #[error("{0}")]
    Refused(Arc<rusqlite::Error>),
    /// The system cannot read the file at the moment. That does not mean damage, and may pass.
    #[error("{0}")]
    Unreadable(UnreadableFile),
    /// Another change of the same transaction caused its rollback, for example on a full disk.
    #[error("the transaction was rolled back")]
    Undone,
    /// It is being read for long, perhaps by a backup.
    #[error("it is being read: its write-ahead log cannot be truncated")]
    Busy,
    /// The thread ended: it panicked, or the service is stopping.
    #[error("it is closed")]
    Closed,
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Refused(Arc::new(error))
    }
}

impl DatabaseError {
    /// Whether the file is damaged: not what SQLite wrote.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
    }

    /// Whether trying again later may help: the cause is the disk, or another user of the database.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused(error) => readable::is_io(error),
            Self::Unreadable(_) | Self::Undone | Self::Busy => true,
            Self::Closed => false,
        }
    }

    /// The same error, or `Unreadable` if what seems to be damage is that the file cannot be read.
    pub(super) fn judged(self, reading: &FileReadability) -> Self {
        let is_unread = matches!(&self, Self::Refused(error) if readable::is_unread(error));
        if !is_unread && !self.is_damage() {
            return self;
        }
        let found = reading.judge();
        if found.is_none() && self.is_damage() {
            reading.confirm_damage();
        }
        found.map_or(self, Self::Unreadable)
    }
}

/// An error type that may contain a database's error.
pub(crate) trait HasDatabaseError: From<DatabaseError> {
    /// The database's error, or the error itself when it is another.
    fn into_database_error(self) -> Result<DatabaseError, Self>;
}

impl HasDatabaseError for DatabaseError {
    fn into_database_error(self) -> Result<DatabaseError, Self> {
        Ok(self)
    }
}

/// The error, after checking whether a file that seems to be damaged could be read.
pub(super) fn judged<E: HasDatabaseError>(error: E, reading: &FileReadability) -> E {
    match error.into_database_error() {
        Ok(error) => error.judged(reading).into(),
        Err(other) => other,
    }
}
