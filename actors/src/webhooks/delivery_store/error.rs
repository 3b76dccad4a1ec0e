//! Why the outbox did not answer, and what to do about it.

use amoiq_events::Position;

use crate::database::{DatabaseError, HasDatabaseError};

/// Why the outbox did not answer or did not record.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryStoreError {
    /// The database refused, or is closed.
    #[error("outbox.db: {0}")]
    Database(DatabaseError),
    /// The file is not what was written.
    #[error("outbox.db is damaged ({0}): {advice}", advice = ADVICE)]
    DamagedFile(DatabaseError),
    /// A row is not what was written.
    #[error("outbox.db is damaged (a row of {0}): {advice}", advice = ADVICE)]
    Damaged(&'static str),
    /// It was written by another release.
    #[error("outbox.db has the schema {found}, this release knows {known}")]
    Schema {
        /// In the file.
        found: i64,
        /// Of this release.
        known: i64,
    },
    /// The lane was removed.
    #[error("outbox.db: the endpoint was removed")]
    NoLane,
    /// The log has another event at a position than it had, in the same epoch.
    #[error("outbox.db: the delivery at {0} is of another event")]
    AnotherEvent(Position),
}

/// What to do about damage. Where an endpoint is cannot be made again from the log.
const ADVICE: &str = "restore it from a backup, or delete outbox.db: every endpoint is then told again \
    everything since it was registered, under the same ids";

impl From<DatabaseError> for DeliveryStoreError {
    fn from(error: DatabaseError) -> Self {
        if error.is_damage() { Self::DamagedFile(error) } else { Self::Database(error) }
    }
}

impl HasDatabaseError for DeliveryStoreError {
    fn into_database_error(self) -> Result<DatabaseError, Self> {
        match self {
            Self::Database(error) | Self::DamagedFile(error) => Ok(error),
            other => Err(other),
        }
    }
}

impl From<rusqlite::Error> for DeliveryStoreError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}
