//! Why the database of deliveries did not answer, and what to do about it.

use amoiq_events::{Position, postgres::CallFailure};

use crate::database::{DatabaseError, HasDatabaseError};

/// Why the database of deliveries did not answer or did not record.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryStoreError {
    /// The database refused, or is closed.
    #[error("outbox.db: {0}")]
    Database(DatabaseError),
    /// SQLite says that the file is damaged.
    #[error("outbox.db is damaged ({0}): {advice}", advice = ADVICE)]
    DamagedFile(DatabaseError),
    /// A row does not match its checksum.
    #[error("outbox.db is damaged (a row of {0}): {advice}", advice = ADVICE)]
    Damaged(&'static str),
    /// Another release wrote the file.
    #[error("outbox.db has the schema {found}, this release knows {known}")]
    Schema {
        /// In the file.
        found: i64,
        /// Of this release.
        known: i64,
    },
    /// The lane was removed.
    #[error("outbox: the endpoint was removed")]
    NoLane,
    /// The shared tables did not answer, or refused.
    #[error("outbox: {0}")]
    Unavailable(CallFailure),
    /// Another node may have the lane.
    #[error("outbox: another node may have taken over the lane")]
    LeaseLost,
    /// The log lost its end while this node was starting.
    #[error("outbox: the log has gone on in another epoch: start the service again")]
    OtherEpoch,
    /// The service is stopping.
    #[error("outbox: the database is closed")]
    Closed,
    /// In the same epoch, the log has another event at this position than before.
    #[error("outbox: the delivery at {0} is of another event")]
    AnotherEvent(Position),
}

/// What to do about damage. The log does not say how far an endpoint is.
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

/// The errors that the functions of the shared tables raise, beside that of a lost lease.
const REMOVED_LANE: &str = "(AMQ06)";
const OTHER_EVENT: &str = "(AMQ07)";
const OTHER_EPOCH: &str = "(AMQ08)";

impl From<CallFailure> for DeliveryStoreError {
    fn from(failure: CallFailure) -> Self {
        match &failure {
            CallFailure::LeaseLost(_) => Self::LeaseLost,
            CallFailure::Refused(text) if text.ends_with(OTHER_EPOCH) => Self::OtherEpoch,
            CallFailure::Refused(text) if text.ends_with(REMOVED_LANE) => Self::NoLane,
            CallFailure::Refused(text) if text.ends_with(OTHER_EVENT) => {
                let position = text.split(' ').next().and_then(|number| number.parse().ok());
                Self::AnotherEvent(Position::from_u64(position.unwrap_or_default()))
            }
            _ => Self::Unavailable(failure),
        }
    }
}

impl From<tokio_postgres::Error> for DeliveryStoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        CallFailure::from(error).into()
    }
}
