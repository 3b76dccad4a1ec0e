//! A SQLite database beside the log, with one thread that writes and one that reads. No SQLite call runs on a thread that
//! serves requests.
//!
//! The writer takes all waiting changes and commits them as one transaction. A change that nobody waits for also waits for
//! others to come (`write_soon`). A change that fails is rolled back alone. All are answered after the
//! commit, with its error if it fails. A power failure may lose the last commits (`synchronous=NORMAL`), but never an earlier
//! one: what must not be lost at all is in the log.

use std::{
    io,
    path::Path,
    sync::{Arc, mpsc as std_mpsc},
    time::Duration,
};

use amoiq_events::store::sqlite::{
    private,
    readable::FileReadability,
    scrub,
    write_ahead::{self, WriteAheadCutter, WriteAheadSyncer},
};
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot};

pub(crate) use amoiq_events::store::sqlite::readable::UnreadableFile;
use commit_queue::{CommitPace, PendingChange, QueuedChange};
pub use error::DatabaseError;
pub(crate) use error::HasDatabaseError;

mod commit_queue;
mod error;

/// How many jobs wait for a thread; one more waits with its caller.
const QUEUE: usize = 256;

/// How long a connection waits for another's lock.
const BUSY: Duration = Duration::from_secs(10);

/// How many pages the write-ahead log may have before a checkpoint, which syncs; the same few pages are written many times.
/// 16 MiB.
const CHECKPOINT_PAGES: u32 = 4_096;

/// How often truncating the write-ahead log is tried before it counts as read for long. A try takes up to 200 ms.
const TRUNCATE_TRIES: u32 = 15;

/// How often the housekeeping thread runs.
const HOUSEKEEPING_EVERY: Duration = Duration::from_millis(200);

/// How many prepared statements a connection keeps: more than any of these databases has.
const STATEMENTS: usize = 64;

/// A handle to the threads. They end with its last clone.
#[derive(Clone)]
pub(crate) struct SqliteDatabase(DatabaseAccess);

#[derive(Clone)]
enum DatabaseAccess {
    Threads {
        writer: mpsc::Sender<Box<dyn QueuedChange>>,
        pace: Arc<CommitPace>,
        reader: mpsc::Sender<Query>,
        reading: Arc<FileReadability>,
        /// Its thread ends when the last clone is gone.
        _housekeeping: std_mpsc::SyncSender<()>,
    },
    /// On the caller's thread.
    Here(Arc<Mutex<Connection>>),
}

type Query = Box<dyn FnOnce(&mut Connection) + Send>;

impl SqliteDatabase {
    /// Opens the file, or creates it, and reads every page. `prepare` creates the tables on the writer's connection.
    pub(crate) fn open<E: HasDatabaseError>(
        path: &Path,
        name: &str,
        prepare: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<Self, E> {
        create_file(path);
        let checked = connect(path).and_then(|conn| check(&conn));
        checked.map_err(|error| error.judged(&FileReadability::new(path)))?;
        Self::open_unchecked(path, name, prepare)
    }

    /// The same without reading every page, for a file whose damage is found and repaired later.
    pub(crate) fn open_unchecked<E: HasDatabaseError>(
        path: &Path,
        name: &str,
        prepare: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<Self, E> {
        create_file(path);
        let reading = Arc::new(FileReadability::new(path));
        let connected = || connect(path).map_err(|error| error.judged(&reading));
        let writing = connected()?;
        prepare(&writing).map_err(|error| error::judged(error, &reading))?;
        let no_thread = |_no_thread| DatabaseError::Closed;
        let pace: Arc<CommitPace> = Arc::default();
        Ok(Self(DatabaseAccess::Threads {
            writer: commit_queue::spawn_writer(format!("{name}-writer"), writing, Arc::clone(&pace))
                .map_err(no_thread)?,
            pace,
            reader: spawn_reader(format!("{name}-reader"), connected()?).map_err(no_thread)?,
            _housekeeping: spawn_housekeeping(format!("{name}-files"), connected()?, path, &reading)
                .map_err(no_thread)?,
            reading,
        }))
    }

    /// The part of its file that cannot be read at the transaction.
    pub(crate) fn unreadable(&self) -> Option<UnreadableFile> {
        match &self.0 {
            DatabaseAccess::Threads { reading, .. } => reading.failing(),
            DatabaseAccess::Here(_) => None,
        }
    }

    fn judged<E: HasDatabaseError>(&self, error: E) -> E {
        match &self.0 {
            DatabaseAccess::Threads { reading, .. } => error::judged(error, reading),
            DatabaseAccess::Here(_) => error,
        }
    }

    /// A database in memory, without threads, for simulations, which must run in one order.
    pub(crate) fn in_memory<E: HasDatabaseError>(
        prepare: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<Self, E> {
        let conn = connect(Path::new(":memory:"))?;
        prepare(&conn)?;
        Ok(Self(DatabaseAccess::Here(Arc::new(Mutex::new(conn)))))
    }

    /// Makes a change, completely or not at all, independent of other changes in the same transaction.
    pub(crate) async fn write<T, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: HasDatabaseError + Send + 'static,
    {
        self.commit(change, false).await
    }

    /// The same for a change that nobody waits for: it is committed with others that come within a moment, or with the first
    /// that cannot wait, or when somebody [hurries](SqliteDatabase::hurry).
    pub(crate) async fn write_soon<T, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: HasDatabaseError + Send + 'static,
    {
        self.commit(change, true).await
    }

    /// Somebody waits for changes that were to be committed soon.
    pub(crate) fn hurry(&self) {
        if let DatabaseAccess::Threads { pace, .. } = &self.0 {
            pace.hurry();
        }
    }

    async fn commit<T, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        may_wait: bool,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: HasDatabaseError + Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let database = self.clone();
        let change =
            move |transaction: &Transaction<'_>| change(transaction).map_err(|error| database.judged(error));
        let asked = Box::new(PendingChange::new(change, reply, may_wait));
        match &self.0 {
            DatabaseAccess::Threads { writer, pace, .. } => {
                // A writer that ended does not answer.
                let _closed = writer.send(asked).await;
                if !may_wait || writer.capacity() <= QUEUE / 2 {
                    pace.hurry();
                }
                answer.await.unwrap_or_else(|_dropped| Err(DatabaseError::Closed.into()))
            }
            DatabaseAccess::Here(conn) => {
                let mut changes: [Box<dyn QueuedChange>; 1] = [asked];
                let committed = commit_queue::commit(&mut conn.lock(), &mut changes);
                changes.into_iter().for_each(|change| change.answer(committed.clone()));
                answer.try_recv().unwrap_or_else(|_dropped| Err(DatabaseError::Closed.into()))
            }
        }
    }

    /// Runs a query in one read transaction.
    pub(crate) async fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: HasDatabaseError + Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let database = self.clone();
        let ask = move |conn: &mut Connection| {
            let transaction = conn.transaction().map_err(DatabaseError::from);
            let answer = transaction.map_err(E::from).and_then(|transaction| query(&transaction));
            drop(reply.send(answer.map_err(|error| database.judged(error))));
        };
        match &self.0 {
            DatabaseAccess::Threads { reader, .. } => {
                let _closed = reader.send(Box::new(ask)).await;
                answer.await.unwrap_or_else(|_dropped| Err(DatabaseError::Closed.into()))
            }
            DatabaseAccess::Here(conn) => {
                ask(&mut conn.lock());
                answer.try_recv().unwrap_or_else(|_dropped| Err(DatabaseError::Closed.into()))
            }
        }
    }
}

impl SqliteDatabase {
    /// Overwrites what was removed before, in every file. That reads the whole file.
    pub(crate) async fn scrub(&self) -> Result<(), DatabaseError> {
        let mut next = Some(scrub::FIRST);
        while let Some(from) = next {
            let step = self.read(move |conn| Ok::<_, DatabaseError>(scrub::look(conn, from)?)).await?;
            let unclean = step.unclean;
            if !unclean.is_empty() {
                self.write(move |transaction| Ok::<_, DatabaseError>(scrub::clean(transaction, &unclean)?))
                    .await?;
            }
            next = step.next;
        }
        let mut tries = 1;
        loop {
            match self.truncate_log().await {
                Err(DatabaseError::Busy) if tries < TRUNCATE_TRIES => tries += 1,
                cut => return cut,
            }
        }
    }

    /// Moves everything into the one file, and truncates the write-ahead log.
    pub(crate) async fn truncate_log(&self) -> Result<(), DatabaseError> {
        let DatabaseAccess::Threads { reader, .. } = &self.0 else { return Ok(()) };
        // Outside of any transaction, and not on the thread that writes.
        let (reply, answer) = oneshot::channel();
        let cut = move |conn: &mut Connection| drop(reply.send(write_ahead::truncate(conn)));
        let _closed = reader.send(Box::new(cut)).await;
        match answer.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(DatabaseError::Busy),
            Ok(Err(error)) => Err(error.into()),
            Err(_dropped) => Err(DatabaseError::Closed),
        }
    }
}

fn spawn_reader(name: String, mut conn: Connection) -> io::Result<mpsc::Sender<Query>> {
    let (queue, mut waiting) = mpsc::channel::<Query>(QUEUE);
    std::thread::Builder::new().name(name).spawn(move || {
        while let Some(query) = waiting.blocking_recv() {
            query(&mut conn);
        }
    })?;
    Ok(queue)
}

/// Starts the thread that syncs the write-ahead log, keeps it short, and tries to read again what could not be read.
fn spawn_housekeeping(
    name: String,
    conn: Connection,
    path: &Path,
    reading: &Arc<FileReadability>,
) -> io::Result<std_mpsc::SyncSender<()>> {
    let (stop, stopped) = std_mpsc::sync_channel(0);
    let (mut cutter, mut syncer) = (WriteAheadCutter::new(path), WriteAheadSyncer::new(path));
    let (reading, mut is_synced) = (Arc::clone(reading), true);
    std::thread::Builder::new().name(name).spawn(move || {
        while stopped.recv_timeout(HOUSEKEEPING_EVERY) == Err(std_mpsc::RecvTimeoutError::Timeout) {
            reading.probe();
            let synced = syncer.look();
            if let Err(error) = &synced
                && is_synced
            {
                tracing::warn!(%error, "a write-ahead log could not be synced; trying again");
            }
            is_synced = synced.is_ok();
            if let Err(error) = cutter.look(&conn) {
                tracing::warn!(%error, "a write-ahead log could not be truncated; trying again");
            }
        }
    })?;
    Ok(stop)
}

/// Creates the file, readable by its owner alone. If that fails, SQLite reports it.
fn create_file(path: &Path) {
    drop(private::make_file(path));
}

/// Opens a connection.
pub(crate) fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", write_ahead::LARGE_BYTES)?;
    // What an erased session left must not stay in free pages.
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "cache_size", -32_768)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Reads every page once. Otherwise damage might be found only by a change, which could then never be made.
pub(crate) fn check(conn: &Connection) -> Result<(), DatabaseError> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(corrupt, Some(found)).into())
}

/// Removes a database that can be built again, with its other files.
pub(crate) fn remove(path: &Path) {
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
