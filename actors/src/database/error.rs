//! Why a database did not do as it was told, and whether that is for its bytes or for the disk.

use std::sync::Arc;

use amoiq_events::store::sqlite::readable::{self, Reading, UnreadableFile};
use rusqlite::ErrorCode;

/// Why a database did not do as it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite's words. Shared: every change of a commit that failed is told them.
    #[error("{0}")]
    Refused(Arc<rusqlite::Error>),
    /// The system does not give what stands there. It says nothing of damage, and may pass.
    #[error("{0}")]
    Unreadable(UnreadableFile),
    /// Another change of the same transaction met what undoes all of it, a full disk for one.
    #[error("the transaction was rolled back")]
    Undone,
    /// Somebody reads it for long, a backup perhaps.
    #[error("it is being read: its write-ahead log cannot be cut")]
    Busy,
    /// The thread is gone: it has panicked, or nobody has the database any more and the service is stopping.
    #[error("it is closed")]
    Closed,
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Refused(Arc::new(error))
    }
}

impl DatabaseError {
    /// Whether the file is not what SQLite wrote.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
    }

    /// Whether asking again later may help: it is for the disk, or for others, that it was refused.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused(error) => readable::is_io(error),
            Self::Unreadable(_) | Self::Undone | Self::Busy => true,
            Self::Closed => false,
        }
    }

    /// The same, unless what seems to be damage is that the file does not read.
    pub(super) fn judged(self, reading: &Reading) -> Self {
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

/// An error of whoever has a database, in which the database's own may be.
pub(crate) trait HasDatabaseError: From<DatabaseError> {
    /// The database's own; the error itself when it is another.
    fn into_database_error(self) -> Result<DatabaseError, Self>;
}

impl HasDatabaseError for DatabaseError {
    fn into_database_error(self) -> Result<DatabaseError, Self> {
        Ok(self)
    }
}

/// The error, looked into: whether a file that seems to be damaged was read.
pub(super) fn judged<E: HasDatabaseError>(error: E, reading: &Reading) -> E {
    match error.into_database_error() {
        Ok(error) => error.judged(reading).into(),
        Err(other) => other,
    }
}
