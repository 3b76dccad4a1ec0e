//! The database of the read models, `views.db`: apart from the log, and disposable. Whatever is in it
//! can be made again from the log, so it is synced less often, and it is thrown away when it is
//! damaged. Damage that only shows while the service runs has it thrown away then.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rusqlite::{Connection, Transaction};

use crate::{
    database::{self, DatabaseError, SqliteDatabase, UnreadableFile},
    projections::{dead_letters::DeadLetters, view_error::ViewError, view_generation},
};

/// Of the catalogue and of rows. A file with another one is made again.
const LAYOUT: i64 = 3;

/// What its threads are named after.
const NAME: &str = "views";

/// The way to the database's threads. They end when the last clone of it is gone.
#[derive(Clone)]
pub struct ViewStore {
    path: Arc<Path>,
    /// Another one, once the file was found to be damaged.
    database: Arc<ArcSwap<SqliteDatabase>>,
    letters: DeadLetters,
}

impl ViewStore {
    /// Opens the database, or makes a new one in the place of one that is damaged or of another release.
    /// Beside it is the list of events that projections pass by.
    ///
    /// # Errors
    /// When neither is possible.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        let letters = DeadLetters::open(path.parent().unwrap_or(Path::new(".")))?;
        let database = match SqliteDatabase::open_unchecked(path, NAME, prepare) {
            Err(error) if is_unusable(&error) => {
                tracing::warn!(%error, "views.db is made again from the log");
                database::remove(path);
                SqliteDatabase::open_unchecked(path, NAME, prepare)
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
            let fresh = SqliteDatabase::open_unchecked(&views.path, NAME, prepare)?;
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
        if !self.read(view_generation::is_swept).await? {
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
        view_generation::CREATE
    ))?;
    Ok(())
}
