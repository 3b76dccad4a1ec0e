//! The database of the read models, `views.db`: apart from the log, and disposable. Whatever is in it
//! can be made again from the log, so it is synced less often, and it is thrown away when it is
//! damaged or belongs to another epoch.
//!
//! One thread writes it, another reads it; nothing of SQLite runs where requests are served.

use std::{io, path::Path, time::Duration};

use amoiq_events::{
    Position,
    codec::CodecError,
    store::{Epoch, ReadError},
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction};
use tokio::sync::{mpsc, oneshot};

/// How many jobs wait for a thread; one more waits with its caller.
const QUEUE: usize = 256;

/// How long a connection waits for another's lock.
const BUSY: Duration = Duration::from_secs(10);

/// Why a read model did not answer or did not follow.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The database refused.
    #[error("views.db: {0}")]
    Database(#[from] rusqlite::Error),
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
    /// The thread is gone: the service is stopping.
    #[error("views.db is closed")]
    Closed,
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

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the database's threads. They end when the last clone of it is gone.
#[derive(Clone)]
pub struct Views {
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<Job>,
}

impl Views {
    /// Opens the database, or makes a new one in the place of one that is damaged.
    ///
    /// # Errors
    /// When neither is possible.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        let conn = match open(path).and_then(checked) {
            Err(error) if is_damage(&error) => {
                tracing::warn!(%error, "views.db is damaged; it is made again from the log");
                remove(path);
                open(path)?
            }
            opened => opened?,
        };
        let reading = open(path)?;
        let start = |name, conn| spawn(name, conn).map_err(|_no_thread| ViewError::Closed);
        Ok(Self { writer: start("views-writer", conn)?, reader: start("views-reader", reading)? })
    }

    /// Runs a change as one transaction.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        run(&self.writer, move |conn| {
            let transaction = conn.transaction()?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }

    /// Runs a query.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        run(&self.reader, move |conn| query(conn)).await
    }
}

async fn run<T: Send + 'static>(
    queue: &mpsc::Sender<Job>,
    work: impl FnOnce(&mut Connection) -> Result<T, ViewError> + Send + 'static,
) -> Result<T, ViewError> {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |conn| drop(reply.send(work(conn))));
    if queue.send(job).await.is_err() {
        return Err(ViewError::Closed);
    }
    answer.await.unwrap_or(Err(ViewError::Closed))
}

fn spawn(name: &str, mut conn: Connection) -> io::Result<mpsc::Sender<Job>> {
    let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        while let Some(job) = jobs.blocking_recv() {
            job(&mut conn);
        }
    })?;
    Ok(queue)
}

fn open(path: &Path) -> Result<Connection, ViewError> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "cache_size", -32_768)?;
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS checkpoints (
            projection TEXT PRIMARY KEY,
            version    INTEGER NOT NULL,
            epoch      INTEGER NOT NULL,
            position   INTEGER NOT NULL
        ) WITHOUT ROWID;",
    )?;
    Ok(conn)
}

/// Reads every page once. Damage that only a fold would meet would stop the projection for good.
fn checked(conn: Connection) -> Result<Connection, ViewError> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(conn);
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(corrupt, Some(found)).into())
}

fn is_damage(error: &ViewError) -> bool {
    let ViewError::Database(error) = error else { return false };
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        if let Err(error) = std::fs::remove_file(&file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a damaged file could not be removed");
        }
    }
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
