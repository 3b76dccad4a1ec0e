//! The embedded store: one SQLite database, written by one thread, read by a few.
//!
//! An append is answered after its commit is synced. Everything that waits is committed together.
//! One process at a time opens a directory: a lock on a file in it is held as long as the store is.
//!
//! | file | holds |
//! |---|---|
//! | `log.db`, `-wal`, `-shm` | the log and its index |
//! | `log.witness` | how far commits were acknowledged, so that a lost end is noticed |
//! | `lock` | the process that has the store; the file is locked |

use std::{
    fs::File,
    ops::Bound,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, TrySendError, bounded};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use self::{
    files::{connection, readable::FileReadability},
    reading::reader::ReaderPool,
    tables::{event_query, index_build, opening, seek, stream_index::StreamHeads},
    writing::{
        checkpoint::{self, CheckpointedFile, WriteAhead},
        index_check::{self, IndexState},
        jobs::{Answer, AppendJob, Reply, WriterJob},
        log_file::LogFile,
        removal,
        writer::StoreWriter,
    },
};
use super::{
    AppendError, AppendReceipt, Epoch, EventLog, ExpectedVersion, LogMaintenance, LogSubscription,
    MAX_READ_EVENTS, OpenedStore, ReadDirection, ReadError, StoreFuture, StoreHealth, StoreMeter,
    dense_positions::{count, within},
    feed::LogFeed,
    log::check_size,
    transfer::work_progress::{ProgressCallback, WorkProgress},
};
use crate::{Ambient, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version};

mod files;
mod lock;
mod maintenance;
mod open_error;
mod reading;
mod tables;
mod writing;

pub use files::{
    new_file::{NewFile, NewFileError},
    private, readable, row_checksum, scrub, write_ahead,
};
pub use lock::{DirectoryLock, LockHolder};
pub use maintenance::{
    backup::{BackupError, NoBackup},
    companion::{CompanionCheck, CompanionDatabase, LogFacts},
    export::{DamagePolicy, ExportOmissions, export},
    fresh::{FillError, repair_index},
    import::SqliteFilling,
    log_elsewhere::LogElsewhereError,
    store_files::StoreFiles,
    verification::{DefectKind, StoreDefect, StoreVerification},
};
pub use open_error::OpenError;
pub use reading::read_only::ReadOnlyStore;

/// The most bytes that the data of one append may have together.
const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;

/// How many appends wait at the most; one more is answered [`AppendError::Overloaded`].
const QUEUE: usize = 16_384;

/// A commit that takes longer is taken for a disk that hangs.
const SLOW_COMMIT: Duration = Duration::from_secs(5);

/// What was found when the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreRecovery {
    /// The newest event.
    pub head: Position,
    /// Positions after `head` up to this one were acknowledged and are gone. The epoch is a new one.
    pub lost_up_to: Option<Position>,
}

/// The embedded store. Dropping it closes it.
pub struct SqliteStore {
    jobs: Sender<WriterJob>,
    readers: ReaderPool,
    reading: Arc<FileReadability>,
    feed: Arc<LogFeed>,
    heads: Arc<StreamHeads>,
    epoch: Epoch,
    health: watch::Receiver<StoreHealth>,
    write_ahead: Arc<WriteAhead>,
    meter: Arc<StoreMeter>,
    opened: Instant,
    recovery: StoreRecovery,
    /// The writer, the one that checks the index and the checkpointer, in the order in which they end;
    /// readers end with the last subscription.
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: DirectoryLock,
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl SqliteStore {
    /// Opens the store in a directory; creates both if they do not exist.
    ///
    /// # Errors
    /// An [`OpenError`], whose text says what to do.
    pub fn open(directory: &Path, ambient: &Ambient) -> Result<Self, OpenError> {
        Self::open_within(directory, ambient, Duration::ZERO)
    }

    /// Like [`Self::open`], but waits for a process that has the directory: one that is stopping, or a command on the files.
    ///
    /// # Errors
    /// An [`OpenError`]; [`OpenError::InUse`] only when patience runs out.
    pub fn open_within(directory: &Path, ambient: &Ambient, patience: Duration) -> Result<Self, OpenError> {
        let opened = DirectoryLock::take_within(directory, patience)
            .and_then(|lock| Self::open_files(directory, lock, ambient));
        opened.map_err(|error| error.judged(&directory.join("log.db")))
    }

    fn open_files(directory: &Path, lock: DirectoryLock, ambient: &Ambient) -> Result<Self, OpenError> {
        maintenance::fresh::refuse_unfinished(directory)?;
        let path = directory.join("log.db");
        let log = LogFile::open(directory, ambient)?;
        let ledger = index_build::index(&log.conn)?;
        let heads = Arc::clone(ledger.heads());
        let recent = log.recent()?;
        let LogFile { conn, witness, recovery, epoch, last } = log;

        let reading = Arc::new(FileReadability::new(&path));
        let file = Arc::new(File::open(&path)?);
        let readers = ReaderPool::start(&path, &file, &reading)?;
        let for_feed = readers.clone();
        let read = move |after, limit| for_feed.read(move |conn| event_query::read_all(conn, after, limit));
        let feed = Arc::new(LogFeed::new(last, Arc::new(read)));
        let write_ahead = Arc::new(WriteAhead::of(&conn)?);
        let (jobs, queue) = bounded(QUEUE);
        let (stop_others, stopped) = bounded(0);
        let checking =
            index_check::start_check(connection::open_reader(&path)?, jobs.clone(), stopped.clone())?;
        let checkpoints = checkpoint::start(
            &path,
            CheckpointedFile { conn: opening::open_writer(&path, 0)?, file },
            Arc::clone(&write_ahead),
            Arc::clone(&reading),
            stopped,
        )?;
        let opened = Instant::now();
        let meter: Arc<StoreMeter> = Arc::default();
        let (health, healthy) = watch::channel(StoreHealth::Writable);
        let writer = StoreWriter {
            conn,
            heads: Arc::clone(&heads),
            ledger,
            last,
            recent,
            witness,
            write_ahead: Arc::clone(&write_ahead),
            reading: Arc::clone(&reading),
            feed: Arc::clone(&feed),
            health,
            meter: Arc::clone(&meter),
            opened,
            index: IndexState::Whole,
            _stop_others: stop_others,
        };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let writing = thread.spawn(move || writer.run(&queue))?;
        Ok(Self {
            jobs,
            readers,
            reading,
            feed,
            heads,
            epoch,
            health: healthy,
            write_ahead,
            meter,
            opened,
            recovery,
            threads: Mutex::new(vec![writing, checking, checkpoints]),
            _lock: lock,
        })
    }

    /// What was found when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> StoreRecovery {
        self.recovery
    }

    fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&Connection, &StreamHeads) -> Result<T, ReadError> + Clone + Send + 'static,
    ) -> StoreFuture<Result<T, ReadError>> {
        let (readers, jobs, heads) = (self.readers.clone(), self.jobs.clone(), Arc::clone(&self.heads));
        let ask_once = move || {
            let (query, heads) = (query.clone(), Arc::clone(&heads));
            readers.read(move |conn| query(conn, &heads))
        };
        let first = ask_once();
        Box::pin(async move {
            match first.await {
                // The index is damaged, not an event: the answer is known once the index was rebuilt.
                Err(error) if error.is_about_the_file() => {
                    if let Ok(mended) = ask(&jobs, WriterJob::MendIndex) {
                        drop(answered(mended).await);
                    }
                    ask_once().await
                }
                read => read,
            }
        })
    }
}

impl EventLog for SqliteStore {
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        let checked = check_size(&events, MAX_APPEND_BYTES);
        let append = |reply| WriterJob::Append(AppendJob { stream, expected, events, reply });
        match checked.and_then(|()| ask(&self.jobs, append)) {
            Ok(answer) => Box::pin(answered(answer)),
            Err(refused) => {
                self.meter.answered(&Err::<AppendReceipt, _>(refused.clone()));
                ready(Err(refused))
            }
        }
    }

    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        let range = event_query::StreamRange { from, direction, limit };
        self.read(move |conn, heads| event_query::read_stream(conn, heads, &stream, range))
    }

    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        self.read(move |conn, _| event_query::read_all(conn, after, limit))
    }

    fn subscribe(&self, after: Position) -> LogSubscription {
        self.feed.subscribe(after)
    }

    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>> {
        self.read(move |conn, _| event_query::event_at(conn, position))
    }

    fn position_at(&self, time: Timestamp) -> StoreFuture<Result<Position, ReadError>> {
        let head = self.head();
        self.read(move |conn, _| seek::position_at(conn, time, head))
    }

    fn newest_within(&self, bound: Bound<Position>) -> StoreFuture<Result<Position, ReadError>> {
        ready(Ok(within(bound, self.head())))
    }

    fn events_after(&self, position: Position) -> u64 {
        count(position, self.head())
    }

    fn head(&self) -> Position {
        self.feed.head()
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn max_append_bytes(&self) -> usize {
        MAX_APPEND_BYTES
    }
}

impl OpenedStore for SqliteStore {
    fn meter(&self) -> &Arc<StoreMeter> {
        &self.meter
    }

    /// Waits for what is queued, writes the index, and copies everything into one file.
    fn close(&self) {
        let mut threads = self.threads.lock();
        // A writer that has ended already needs no message.
        drop(self.jobs.send(WriterJob::Close));
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
    }
}

impl LogMaintenance for SqliteStore {
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>> {
        let prefix = prefix.to_owned();
        let limit = limit.min(MAX_READ_EVENTS);
        self.read(move |conn, heads| event_query::streams(conn, heads, &prefix, after.as_ref(), limit))
    }

    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>> {
        removal::remove(&self.jobs, stream, Some(before))
    }

    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>> {
        removal::remove(&self.jobs, stream, None)
    }

    fn scrub(&self) -> StoreFuture<Result<(), AppendError>> {
        Box::pin(removal::scrub(self.jobs.clone(), self.readers.clone()))
    }

    fn health(&self) -> StoreHealth {
        let begun_ms = self.write_ahead.begun_ms.load(Ordering::Relaxed);
        let begun = self.opened + Duration::from_millis(begun_ms);
        if begun_ms > 0 && begun.elapsed() > SLOW_COMMIT {
            return StoreHealth::Failing(format!("a commit has taken more than {} s", SLOW_COMMIT.as_secs()));
        }
        let health = self.health.borrow().clone();
        match self.reading.failing() {
            Some(unreadable) if health == StoreHealth::Writable => {
                StoreHealth::Unreadable(unreadable.to_string())
            }
            _ => health,
        }
    }
}

/// Gives the writer a job without waiting.
fn ask<T>(
    jobs: &Sender<WriterJob>,
    job: impl FnOnce(Reply<T>) -> WriterJob,
) -> Result<Answer<T>, AppendError> {
    let (reply, answer) = oneshot::channel();
    match jobs.try_send(job(reply)) {
        Ok(()) => Ok(answer),
        Err(TrySendError::Full(_)) => Err(AppendError::Overloaded),
        Err(TrySendError::Disconnected(_)) => Err(closed()),
    }
}

async fn answered<T>(answer: Answer<T>) -> Result<T, AppendError> {
    answer.await.unwrap_or_else(|_gone| Err(closed()))
}

fn ready<T: Send + 'static>(answer: T) -> StoreFuture<T> {
    Box::pin(std::future::ready(answer))
}

fn closed() -> AppendError {
    AppendError::Unavailable("the store is closed".to_owned())
}
