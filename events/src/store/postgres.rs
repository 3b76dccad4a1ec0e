//! The log in PostgreSQL: for operators who have one, and for several nodes that write one log.
//!
//! Every append of every node goes through one function of the database, under one lock: so positions are in the order of
//! commits, without gaps, and expected versions and repeats are decided on what is committed. A node appends over one
//! connection, in groups; reads over a few others; and follows what other nodes append.
//!
//! An append is answered after the server flushed its commit and, where there is one, a synchronous standby has it. No
//! answer is ambiguous: the same ids are tried again until the append's deadline.
//!
//! What it does not do: the bytes of removed events stay in the server's files until its own work overwrites them, see
//! [`LogMaintenance::scrub`].

use std::{collections::VecDeque, ops::Bound, sync::Arc, time::Instant};

use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::AbortHandle,
};

use self::{
    following::{current_head::CurrentHead, follower::LogFollower, loss_watch::LossWatch, wake_ups},
    history::{end_file::EndKeeper, epoch_table::EpochTable, known_end::KnownEnd},
    opening::OpenedLog,
    reading::{log_reads::LogReads, session_pool::SessionPool},
    store_condition::StoreCondition,
    writing::{
        append_group::WaitingAppend,
        appender::{AppenderWork, GroupAppender, WaitingConfirmation, WaitingRemoval, WriteCalls},
    },
};
use super::{
    AppendError, AppendReceipt, Epoch, EventLog, ExpectedVersion, LogMaintenance, LogSubscription,
    OpenedStore, ReadDirection, ReadError, StoreFuture, StoreHealth, StoreMeter,
    dense_positions::{count, within},
    feed::LogFeed,
    log::check_size,
};
use crate::{
    Ambient, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
    postgres::{DatabaseThread, PostgresDatabase, SchemaName, SessionMaker, timing},
};

mod call_errors;
pub mod filling;
mod following;
mod history;
mod opening;
mod reading;
mod schema;
mod store_condition;
mod vacuum;
mod writing;

#[cfg(feature = "kurrentdb")]
pub(in crate::store) use self::history::end_trail::EndTrail;
pub use crate::postgres::{PostgresAddressError, PostgresOpenError, PostgresOptions};

/// The most bytes that the data of one append may have together.
const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;

/// How many appends wait at the most; one more is answered [`AppendError::Overloaded`].
const QUEUE: usize = 16_384;

/// How many calls may be answered and not yet told.
const UNTOLD_CALLS: usize = 16;

/// The log in PostgreSQL. Dropping it closes it.
pub struct PostgresStore {
    /// Gone once the store is closed.
    queue: Mutex<Option<mpsc::Sender<AppenderWork>>>,
    /// Ends when everything that was queued is told.
    told: Receiver<()>,
    others: [AbortHandle; 3],
    feed: Arc<LogFeed>,
    reads: LogReads,
    current_head: CurrentHead,
    sessions: SessionMaker,
    schema: SchemaName,
    thread: DatabaseThread,
    condition: Arc<StoreCondition>,
    meter: Arc<StoreMeter>,
    known: Arc<KnownEnd>,
    keeper: Arc<EndKeeper>,
    epochs: EpochTable,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl PostgresStore {
    /// Opens a log; makes its schema when it does not exist. It blocks until the database has answered.
    ///
    /// # Errors
    /// A [`PostgresOpenError`], whose text says what to do.
    pub fn open(options: &PostgresOptions, ambient: &Ambient) -> Result<Self, PostgresOpenError> {
        Self::open_with(options, Some(ambient))
    }

    /// Opens a log that is being filled, to read it.
    fn open_unfinished(options: &PostgresOptions) -> Result<Self, PostgresOpenError> {
        let database = PostgresDatabase::open(options)?;
        let opened = database.wait_for(OpenedLog::unfinished(database.clone()))?;
        Ok(Self::start(&database, opened, None))
    }

    /// Opens a log that exists. It blocks until the database has answered.
    ///
    /// # Errors
    /// A [`PostgresOpenError`]: also when there is no log.
    pub fn open_existing(options: &PostgresOptions) -> Result<Self, PostgresOpenError> {
        Self::open_with(options, None)
    }

    /// Opens it as a node that may make it and begin its epochs, or for somebody who looks at it.
    fn open_with(options: &PostgresOptions, ambient: Option<&Ambient>) -> Result<Self, PostgresOpenError> {
        // What the node has seen before comes before the first connection.
        let database = PostgresDatabase::unchecked(options)?;
        let opening = OpenedLog::of(database.clone(), options.clone(), ambient.cloned());
        let opened = database.wait_for(opening)?;
        Ok(Self::start(&database, opened, ambient.cloned()))
    }

    /// The database that it is in, for another part of the process.
    ///
    /// # Errors
    /// [`PostgresOpenError::Thread`]
    pub fn database(&self) -> Result<PostgresDatabase, PostgresOpenError> {
        let (thread, sessions, schema) = (self.thread.clone(), self.sessions.clone(), self.schema.clone());
        PostgresDatabase { thread, sessions, schema }.on_own_thread()
    }

    fn start(database: &PostgresDatabase, opened: OpenedLog, ambient: Option<Ambient>) -> Self {
        let OpenedLog { session, state, epochs, trail, file, may_be_lost } = opened;
        let PostgresDatabase { thread, sessions, schema } = database.clone();
        let known = Arc::new(KnownEnd::new(&schema, &state));
        let log = epochs.first().unwrap_or(state.epoch);
        let pool = SessionPool::new(thread.clone(), sessions.clone(), Arc::clone(&known));
        let reads = LogReads::new(pool, &schema);
        let for_feed = reads.clone();
        let read = move |after, limit| for_feed.page(after, limit);
        let feed = Arc::new(LogFeed::new(state.head, Arc::new(read)));
        let keeper = Arc::new(EndKeeper::new(file, log, (&known, &feed), &sessions.seen, trail));
        let condition: Arc<StoreCondition> = Arc::default();
        let meter: Arc<StoreMeter> = Arc::default();
        let woken = Arc::new(Notify::new());
        let (queue, work) = mpsc::channel(QUEUE);
        let (changes, changed) = mpsc::channel(UNTOLD_CALLS);
        let (appended, announced) = watch::channel(state.head);
        let (telling, told) = crossbeam_channel::bounded(0);
        let (of_all, woken_too) = (Arc::clone(&feed), Arc::clone(&woken));
        let current_head =
            CurrentHead::new(thread.clone(), reads.clone(), Arc::clone(&known), of_all, woken_too);
        let appender = GroupAppender {
            queue: work,
            changes,
            sessions: sessions.clone(),
            session: Some(session),
            known: Arc::clone(&known),
            condition: Arc::clone(&condition),
            meter: Arc::clone(&meter),
            calls: WriteCalls::new(&schema, may_be_lost),
            confirmations: Vec::new(),
            removals: VecDeque::new(),
        };
        let follower = LogFollower {
            changes: changed,
            feed: Arc::clone(&feed),
            reads: reads.clone(),
            known: Arc::clone(&known),
            condition: Arc::clone(&condition),
            woken: Arc::clone(&woken),
            appended,
            losses: ambient.map(|ambient| LossWatch::new(database, &known, &keeper, ambient)),
            removals: state.removals,
        };
        thread.spawn(appender.run());
        thread.spawn(async move {
            let _until_the_end = telling;
            follower.run().await;
        });
        let listening =
            thread.spawn(wake_ups::listen(sessions.clone(), schema.clone(), Arc::clone(&known), woken));
        let keeping = thread.spawn(Arc::clone(&keeper).run());
        let announcing = thread.spawn(wake_ups::announce(sessions.clone(), schema.clone(), announced));
        Self {
            queue: Mutex::new(Some(queue)),
            told,
            others: [listening.abort_handle(), announcing.abort_handle(), keeping.abort_handle()],
            feed,
            reads,
            current_head,
            sessions,
            schema,
            thread,
            condition,
            meter,
            known,
            keeper,
            epochs,
        }
    }

    /// Gives the appender work, at once.
    fn ask(&self, work: AppenderWork) -> Result<(), AppendError> {
        use mpsc::error::TrySendError;
        let queue = self.queue.lock();
        match queue.as_ref().ok_or_else(closed)?.try_send(work) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(AppendError::Overloaded),
            Err(TrySendError::Closed(_)) => Err(closed()),
        }
    }

    fn remove(&self, stream: StreamName, before: Option<Version>) -> StoreFuture<Result<(), AppendError>> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + timing::APPEND;
        let asked = self.ask(AppenderWork::Remove(WaitingRemoval { stream, before, deadline, reply }));
        Box::pin(async move {
            asked?;
            answer.await.unwrap_or_else(|_gone| Err(closed()))
        })
    }
}

impl EventLog for PostgresStore {
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + timing::APPEND;
        let asked = check_size(&events, MAX_APPEND_BYTES).and_then(|()| {
            self.ask(AppenderWork::Append(WaitingAppend { stream, expected, events, deadline, reply }))
        });
        if asked.is_err() {
            self.meter.answered(&asked);
        }
        Box::pin(async move {
            asked?;
            answer.await.unwrap_or_else(|_gone| Err(closed()))
        })
    }

    fn confirm(&self) -> StoreFuture<Result<(), AppendError>> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + timing::APPEND;
        let asked = self.ask(AppenderWork::Confirm(WaitingConfirmation { deadline, reply }));
        Box::pin(async move {
            asked?;
            answer.await.unwrap_or_else(|_gone| Err(closed()))
        })
    }

    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        self.reads.stream(&stream, from, direction, limit)
    }

    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        self.reads.page(after, limit)
    }

    fn subscribe(&self, after: Position) -> LogSubscription {
        self.feed.subscribe(after)
    }

    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>> {
        self.reads.event(position)
    }

    fn position_at(&self, time: Timestamp) -> StoreFuture<Result<Position, ReadError>> {
        self.reads.position_at(time, self.head())
    }

    fn newest_within(&self, bound: Bound<Position>) -> StoreFuture<Result<Position, ReadError>> {
        Box::pin(std::future::ready(Ok(within(bound, self.head()))))
    }

    fn events_after(&self, position: Position) -> u64 {
        count(position, self.head())
    }

    fn head(&self) -> Position {
        self.feed.head()
    }

    fn current_head(&self) -> StoreFuture<Result<Position, ReadError>> {
        self.current_head.ask()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn epoch(&self) -> Epoch {
        self.known.epoch()
    }

    fn replaced(&self) -> StoreFuture<Epoch> {
        let mut replaced = self.known.replaced();
        Box::pin(async move {
            let epoch = replaced.wait_for(Option::is_some).await.ok().and_then(|epoch| *epoch);
            match epoch {
                Some(epoch) => epoch,
                // The store was closed before.
                None => std::future::pending().await,
            }
        })
    }

    fn common_with(&self, earlier: Epoch) -> Position {
        self.epochs.common_with(earlier)
    }

    fn max_append_bytes(&self) -> usize {
        MAX_APPEND_BYTES
    }
}

impl OpenedStore for PostgresStore {
    fn meter(&self) -> &Arc<StoreMeter> {
        &self.meter
    }

    /// Waits for what is queued, as long as an append may take.
    fn close(&self) {
        if self.queue.lock().take().is_some() {
            // Nothing is ever sent: it ends with the follower.
            if self
                .told
                .recv_timeout(timing::APPEND + timing::WRITE_CALL)
                .is_err_and(|error| error.is_timeout())
            {
                tracing::error!("the store is closed while the database does not answer");
            }
            self.others.iter().for_each(AbortHandle::abort);
            self.keeper.write();
        }
    }
}

impl LogMaintenance for PostgresStore {
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>> {
        self.reads.streams(prefix, after.as_ref(), limit)
    }

    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>> {
        self.remove(stream, Some(before))
    }

    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>> {
        self.remove(stream, None)
    }

    /// Makes sure that nothing reads removed events any more, and fails when something may. Their bytes stay in the
    /// server's files until these are overwritten, which an operator does with `VACUUM FULL`; and in its write-ahead log, on
    /// standbys and in backups as long as these are kept.
    fn scrub(&self) -> StoreFuture<Result<(), AppendError>> {
        let vacuuming = self.thread.spawn(vacuum::vacuum(self.sessions.clone(), self.schema.clone()));
        Box::pin(async { vacuuming.await.unwrap_or_else(|_ended| Err(closed())) })
    }

    fn health(&self) -> StoreHealth {
        self.condition.health()
    }
}

fn closed() -> AppendError {
    AppendError::Unavailable("the store is closed".to_owned())
}
