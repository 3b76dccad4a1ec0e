//! The database of the read models, `views.db`: apart from the log, and disposable. Whatever is in it
//! can be made again from the log, so it is synced less often, and it is thrown away when it is
//! damaged. Damage that only shows while the service runs has it thrown away then.

use std::{path::Path, sync::Arc};

use amoiq_events::{codec::CodecError, store::ReadError};
use arc_swap::ArcSwap;
use rusqlite::{Connection, Transaction};

use crate::{
    database::{self, Database, DatabaseError, HasDatabaseError, UnreadableFile},
    dead_letters::DeadLetters,
    generation,
};

/// Of the catalogue and of rows. A file with another one is made again.
const LAYOUT: i64 = 3;

/// What its threads are named after.
const NAME: &str = "views";

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
    /// What says which tables serve is not what was written.
    #[error("views.db: the catalogue of generations is damaged")]
    Catalogue,
    /// The tables are those of another release.
    #[error("views.db has layout {0}, this release has another")]
    Layout(i64),
    /// Tables that do not serve are there. What is erased from those that do may stand in them.
    #[error("views.db is being rebuilt, and what is removed may stand in other tables still")]
    Rebuilding,
    /// A file beside the database.
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

/// The way to the database's threads. They end when the last clone of it is gone.
#[derive(Clone)]
pub struct Views {
    path: Arc<Path>,
    /// Another one, once the file was found to be damaged.
    database: Arc<ArcSwap<Database>>,
    letters: DeadLetters,
}

impl Views {
    /// Opens the database, or makes a new one in the place of one that is damaged or of another release.
    /// Beside it is the list of events that projections pass by.
    ///
    /// # Errors
    /// When neither is possible.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        let letters = DeadLetters::open(path.parent().unwrap_or(Path::new(".")))?;
        let database = match Database::open_unchecked(path, NAME, prepare) {
            Err(error) if is_unusable(&error) => {
                tracing::warn!(%error, "views.db is made again from the log");
                database::remove(path);
                Database::open_unchecked(path, NAME, prepare)
            }
            opened => opened,
        };
        Ok(Self { path: path.into(), database: Arc::new(ArcSwap::from_pointee(database?)), letters })
    }

    /// The events that projections pass by.
    #[must_use]
    pub fn letters(&self) -> &DeadLetters {
        &self.letters
    }

    /// Reads every page of the file once. That takes longer the more sessions there are, so nobody
    /// waits for it to begin.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn check(&self) -> Result<(), ViewError> {
        Ok(database::check(&self.reader()?)?)
    }

    /// A connection of one's own, to read with.
    pub(crate) fn reader(&self) -> Result<Connection, ViewError> {
        Ok(database::connect(&self.path)?)
    }

    /// Puts an empty database in the place of one that is damaged.
    pub(crate) async fn remake(&self) -> Result<(), ViewError> {
        let views = self.clone();
        let remade = tokio::task::spawn_blocking(move || {
            database::remove(&views.path);
            let fresh = Database::open_unchecked(&views.path, NAME, prepare)?;
            views.database.store(Arc::new(fresh));
            Ok(())
        });
        remade.await.unwrap_or_else(|_panicked| Err(DatabaseError::Closed.into()))
    }

    /// Sees to it that its files hold nothing that was removed before.
    ///
    /// # Errors
    /// When the database refuses, is being read for long, or has tables that do not serve.
    pub(crate) async fn scrub(&self) -> Result<(), ViewError> {
        // Those that begin to be filled from now on are filled from a log that has lost it.
        if !self.read(generation::is_swept).await? {
            return Err(ViewError::Rebuilding);
        }
        Ok(self.database.load_full().scrub().await?)
    }

    /// Brings everything into the one file.
    ///
    /// # Errors
    /// When the database refuses, or is being read for long.
    pub(crate) async fn truncate_log(&self) -> Result<(), ViewError> {
        Ok(self.database.load_full().truncate_log().await?)
    }

    /// What of the file does not read now.
    pub(crate) fn unreadable(&self) -> Option<UnreadableFile> {
        self.database.load().unreadable()
    }

    /// Makes a change: all of it or nothing.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        self.database.load_full().write(change).await
    }

    /// Runs a query.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        self.database.load_full().read(query).await
    }
}

fn is_unusable(error: &ViewError) -> bool {
    match error {
        ViewError::Layout(_) => true,
        ViewError::Database(error) => error.is_damage(),
        _ => false,
    }
}

/// Makes the catalogue in a new database; one with other tables is none of ours.
fn prepare(conn: &Connection) -> Result<(), ViewError> {
    let layout: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if layout == LAYOUT {
        return Ok(());
    }
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if layout != 0 || tables > 0 {
        return Err(ViewError::Layout(layout));
    }
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; {} PRAGMA user_version = {LAYOUT}; COMMIT",
        generation::CREATE
    ))?;
    Ok(())
}
