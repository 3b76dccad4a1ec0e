//! The database of the read models, `views.db`: separate from the log, and disposable. Everything in it can be built
//! again from the log, so it is synced less often, and a damaged file is deleted, also while the service runs.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rusqlite::{Connection, Transaction};

use crate::{
    database::{self, DatabaseError, SqliteDatabase, UnreadableFile},
    projections::{dead_letters::DeadLetters, view_error::ViewError, view_generation},
};

mod verification;

pub use verification::VIEW_DATABASE;

/// The layout of the tables. A file with another layout is built again.
const LAYOUT: i64 = 3;

/// What its threads are named after.
const NAME: &str = "views";

/// A handle to the database's threads. They end with its last clone.
#[derive(Clone)]
pub struct ViewStore {
    path: Arc<Path>,
    /// Replaced when the file turns out to be damaged.
    database: Arc<ArcSwap<SqliteDatabase>>,
    letters: DeadLetters,
}

impl ViewStore {
    /// Opens the database, or creates a new one in place of one that is damaged or of another release. Beside it is the
    /// list of events that projections skip.
    ///
    /// # Errors
    /// When neither is possible.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        let letters = DeadLetters::open(path.parent().unwrap_or(Path::new(".")))?;
        let database = match SqliteDatabase::open_unchecked(path, NAME, prepare) {
            Err(error) if is_unusable(&error) => {
                tracing::warn!(%error, "views.db is built again from the log");
                database::remove(path);
                SqliteDatabase::open_unchecked(path, NAME, prepare)
            }
            opened => opened,
        };
        Ok(Self { path: path.into(), database: Arc::new(ArcSwap::from_pointee(database?)), letters })
    }

    /// The events that projections skip.
    #[must_use]
    pub fn letters(&self) -> &DeadLetters {
        &self.letters
    }

    /// Reads every page of the file once. The time grows with the number of sessions, so nothing waits for it.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn check(&self) -> Result<(), ViewError> {
        Ok(database::check(&self.reader()?)?)
    }

    /// A separate connection for reading.
    pub(crate) fn reader(&self) -> Result<Connection, ViewError> {
        Ok(database::connect(&self.path)?)
    }

    /// Replaces a damaged database by an empty one.
    pub(crate) async fn replace(&self) -> Result<(), ViewError> {
        let views = self.clone();
        let replaced = tokio::task::spawn_blocking(move || {
            database::remove(&views.path);
            let fresh = SqliteDatabase::open_unchecked(&views.path, NAME, prepare)?;
            views.database.store(Arc::new(fresh));
            Ok(())
        });
        replaced.await.unwrap_or_else(|_panicked| Err(DatabaseError::Closed.into()))
    }

    /// Overwrites what was removed before, in every file.
    ///
    /// # Errors
    /// When the database refuses, is being read for long, or has tables that do not serve.
    pub(crate) async fn scrub(&self) -> Result<(), ViewError> {
        // Tables that are filled from now on are filled from a log without it.
        if !self.read(view_generation::is_swept).await? {
            return Err(ViewError::Rebuilding);
        }
        Ok(self.database.load_full().scrub().await?)
    }

    /// Moves everything from the write-ahead log into the file.
    ///
    /// # Errors
    /// When the database refuses, or is being read for long.
    pub(crate) async fn truncate_log(&self) -> Result<(), ViewError> {
        Ok(self.database.load_full().truncate_log().await?)
    }

    /// The part of the file that cannot be read at the moment.
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

/// Creates the catalogue in a new database. A database with other tables is not ours.
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
        view_generation::CREATE
    ))?;
    Ok(())
}
