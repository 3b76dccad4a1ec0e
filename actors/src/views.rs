//! The database of the read models, `views.db`: apart from the log, and disposable. Whatever is in it
//! can be made again from the log, so it is synced less often, and it is thrown away when it is
//! damaged or belongs to another epoch.

use std::path::Path;

use amoiq_events::{
    Position,
    codec::CodecError,
    store::{Epoch, ReadError},
};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::database::{self, Database, DatabaseError};

/// Why a read model did not answer or did not follow.
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
    /// A row is not what was written. Rebuilding the projection mends it.
    #[error("views.db: a row of {0} is damaged")]
    Damaged(&'static str),
    /// The projection did not reach the log in time.
    #[error("the projection is behind the log")]
    Behind,
}

impl From<rusqlite::Error> for ViewError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Where a projection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of the projection's tables.
    pub version: u32,
    /// Of the log that it was made from.
    pub epoch: Epoch,
    /// Everything up to here is folded in.
    pub position: Position,
}

/// The way to the database's threads. They end when the last clone of it is gone.
#[derive(Clone)]
pub struct Views {
    database: Database,
}

impl Views {
    /// Opens the database, or makes a new one in the place of one that is damaged.
    ///
    /// # Errors
    /// When neither is possible.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        let database = match Database::open(path, "views", prepare) {
            Err(ViewError::Database(error)) if error.is_damage() => {
                tracing::warn!(%error, "views.db is damaged; it is made again from the log");
                database::remove(path);
                Database::open(path, "views", prepare)
            }
            opened => opened,
        };
        Ok(Self { database: database? })
    }

    /// Makes a change: all of it or nothing.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        self.database.write(change).await
    }

    /// Runs a query.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        self.database.read(query).await
    }
}

fn prepare(conn: &Connection) -> Result<(), ViewError> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS checkpoints (
            projection TEXT PRIMARY KEY,
            version    INTEGER NOT NULL,
            epoch      INTEGER NOT NULL,
            position   INTEGER NOT NULL
        ) WITHOUT ROWID;",
    )?;
    Ok(())
}

/// Where a projection stands; nothing when it never ran.
pub(crate) fn checkpoint(conn: &Connection, projection: &str) -> Result<Option<Checkpoint>, ViewError> {
    let sql = "SELECT version, epoch, position FROM checkpoints WHERE projection = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_row([projection], |row| {
        Ok(Checkpoint {
            version: row.get(0)?,
            epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
            position: Position::from_u64(row.get::<_, i64>(2)?.cast_unsigned()),
        })
    });
    Ok(found.optional()?)
}

/// Notes where a projection stands, in the transaction that brought it there.
pub(crate) fn set_checkpoint(
    conn: &Connection,
    projection: &str,
    checkpoint: Checkpoint,
) -> Result<(), ViewError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO checkpoints (projection, version, epoch, position) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((
        projection,
        checkpoint.version,
        checkpoint.epoch.0.cast_signed(),
        checkpoint.position.as_u64().cast_signed(),
    ))?;
    Ok(())
}
