//! Why a read model does not answer, or does not follow the log.

use std::sync::Arc;

use amoiq_events::{codec::CodecError, store::ReadError};

use crate::database::{DatabaseError, HasDatabaseError};

/// Why a read model does not answer or does not follow the log.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The database refused, or is closed.
    #[error("views.db: {0}")]
    Database(#[from] DatabaseError),
    /// An event that this release cannot read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A row is not what was written. Whoever finds it reports it to the projector, which rebuilds the projection.
    #[error("views.db: a row of {0} is damaged; the service rebuilds it from the log")]
    Damaged(&'static str),
    /// The row that says which tables serve is not what was written.
    #[error("views.db: the catalogue of generations is damaged")]
    Catalogue,
    /// The tables are those of another release.
    #[error("views.db has layout {0}, this release has another")]
    Layout(i64),
    /// There are tables that do not serve, which may still contain what was erased from those that do.
    #[error("views.db is being rebuilt, and other tables may still contain what is removed")]
    Rebuilding,
    /// The file of dead letters.
    #[error("{0}")]
    File(#[from] Arc<std::io::Error>),
    /// The projection did not reach the log in time.
    #[error("the projection is behind the log")]
    Behind,
}

impl From<std::io::Error> for ViewError {
    fn from(error: std::io::Error) -> Self {
        Self::File(Arc::new(error))
    }
}

impl From<rusqlite::Error> for ViewError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl HasDatabaseError for ViewError {
    fn into_database_error(self) -> Result<DatabaseError, Self> {
        match self {
            Self::Database(error) => Ok(error),
            other => Err(other),
        }
    }
}
