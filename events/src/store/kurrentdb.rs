//! The log in KurrentDB, once called EventStoreDB: for operators who have one, and for several nodes that write one log.
//!
//! Each append is one call that expects an exact revision of its stream; no answer is ambiguous, because the same ids are
//! tried again until the append's deadline. A node follows the whole log: it keeps the names of the streams and what the
//! trait of the log asks for that the database cannot tell, in memory, and reads the log for that when it starts.
//!
//! An append is answered after this node has followed the log up to it. What is read was committed by the cluster.
//!
//! What is removed is not shown any more; it leaves the server's files with the next scavenge, see
//! [`LogMaintenance::scrub`].

use std::{ops::Bound, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::Instant,
};

use self::{
    connecting::timing,
    database_condition::DatabaseCondition,
    following::{
        catch_up::LogCatchUp, followed_log::FollowedLog, follower::SubscriptionFollower,
        head_reader::HeadReader, shared_index::SharedIndex,
    },
    history::{known_log::KnownLogKeeper, log_epochs::LogEpochs},
    opening::{FoundLog, OpeningPurpose},
    reading::{
        log_reads::FilteredReads,
        log_seek,
        stream_reads::{StreamReads, VersionRange},
    },
    records::log_record::overhead_bytes,
    writing::{
        appends::{LogAppends, WantedAppend},
        removals::WantedRemoval,
        stream_turns::StreamTurns,
        stream_writes::StreamWrites,
    },
};
use super::{
    AppendError, AppendReceipt, Epoch, EventLog, ExpectedVersion, LogMaintenance, LogSubscription,
    MAX_READ_EVENTS, OpenedStore, ReadDirection, ReadError, StoreFuture, StoreHealth, StoreMeter,
    log::check_size,
};
use crate::{
    Ambient, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
    database_thread::DatabaseThread,
};

mod connecting;
mod database_condition;
pub mod filling;
mod following;
mod history;
mod opening;
mod reading;
mod records;
mod writing;

pub use connecting::{cluster_address::KurrentAddressError, open_error::KurrentOpenError};
pub use opening::KurrentOptions;

/// The most bytes that the data of one append may have together. Servers up to 25.0 take 1 MiB, and count what surrounds the
/// data: half of that is left for it.
const MAX_APPEND_BYTES: usize = 512 * 1024;

/// What a server takes, in an append.
const MAX_SERVER_BYTES: usize = 1024 * 1024;

/// How many appends and removals wait at the most; one more is answered [`AppendError::Overloaded`].
const QUEUE: usize = 16_384;

/// How many reads there are at the most; one more is answered [`ReadError::Overloaded`].
const READS: usize = 4_096;

/// The log in KurrentDB. Dropping it closes it.
pub struct KurrentStore {
    appends: Arc<LogAppends>,
    reads: FilteredReads,
    streams: StreamReads,
    index: Arc<SharedIndex>,
    log: Arc<FollowedLog>,
    head: Arc<HeadReader>,
    follower: AbortHandle,
    /// Free places for appends and removals.
    queue: Arc<Semaphore>,
    /// Free places for reads.
    readers: Arc<Semaphore>,
    thread: DatabaseThread,
    condition: Arc<DatabaseCondition>,
    meter: Arc<StoreMeter>,
    ambient: Ambient,
    epoch: Epoch,
    epochs: LogEpochs,
    /// Writes what this node knows, where it has a directory.
    keeper: Option<Arc<KnownLogKeeper>>,
    keeping: Option<AbortHandle>,
}

impl Drop for KurrentStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl KurrentStore {
    /// Opens a log; makes it when it does not exist. It blocks until the log was read.
    ///
    /// # Errors
    /// A [`KurrentOpenError`], whose text says what to do.
    pub fn open(options: &KurrentOptions, ambient: &Ambient) -> Result<Self, KurrentOpenError> {
        let new_epoch = Epoch(u64::from_le_bytes(ambient.bytes()));
        Self::open_with(options, ambient, OpeningPurpose::UseOrMake(new_epoch))
    }

    /// Opens a log that exists. It blocks until the log was read.
    ///
    /// # Errors
    /// A [`KurrentOpenError`]: also when there is no log.
    pub fn open_existing(options: &KurrentOptions, ambient: &Ambient) -> Result<Self, KurrentOpenError> {
        Self::open_with(options, ambient, OpeningPurpose::Use)
    }

    fn open_with(
        options: &KurrentOptions,
        ambient: &Ambient,
        purpose: OpeningPurpose,
    ) -> Result<Self, KurrentOpenError> {
        let thread = DatabaseThread::start("store-kurrentdb")?;
        opening::choose_encryption();
        let opening = FoundLog::open(thread.clone(), options.clone(), purpose, ambient.uuid());
        let opened = thread.wait_for(opening, timing::OPEN);
        let opened = opened.ok_or_else(|| KurrentOpenError::Database("it does not answer".to_owned()))?;
        Ok(Self::start(thread, opened?, ambient.clone()))
    }

    fn start(thread: DatabaseThread, opened: FoundLog, ambient: Ambient) -> Self {
        let FoundLog { supervisor, reads, index, log, known, epochs, keeper } = opened;
        let epoch = known.epoch();
        let condition: Arc<DatabaseCondition> = Arc::default();
        let meter: Arc<StoreMeter> = Arc::default();
        let catch_up = LogCatchUp { log: Arc::clone(&log), known, condition: Arc::clone(&condition) };
        let follower =
            SubscriptionFollower { supervisor: Arc::clone(&supervisor), catch_up: catch_up.clone() };
        let head = HeadReader::new(Arc::clone(&supervisor), catch_up);
        let streams = StreamReads { supervisor: Arc::clone(&supervisor), index: Arc::clone(&index) };
        let writes =
            StreamWrites { supervisor, condition: Arc::clone(&condition), meter: Arc::clone(&meter) };
        let appends = LogAppends {
            turns: StreamTurns::default(),
            writes,
            reads: streams.clone(),
            log: Arc::clone(&log),
            index: Arc::clone(&index),
        };
        let follower = thread.spawn(follower.run()).abort_handle();
        let keeping = keeper.as_ref().map(|keeper| thread.spawn(Arc::clone(keeper).run()).abort_handle());
        Self {
            appends: Arc::new(appends),
            reads,
            streams,
            index,
            log,
            head: Arc::new(head),
            follower,
            queue: Arc::new(Semaphore::new(QUEUE)),
            readers: Arc::new(Semaphore::new(READS)),
            thread,
            condition,
            meter,
            ambient,
            epoch,
            epochs,
            keeper,
            keeping,
        }
    }

    /// A place in the queue of those who write.
    fn queued(&self) -> Result<OwnedSemaphorePermit, AppendError> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|error| match error {
            tokio::sync::TryAcquireError::Closed => closed(),
            tokio::sync::TryAcquireError::NoPermits => AppendError::Overloaded,
        })
    }

    fn remove(&self, stream: StreamName, before: Option<Version>) -> StoreFuture<Result<(), AppendError>> {
        let queued = self.queued();
        let (appends, ambient) = (Arc::clone(&self.appends), self.ambient.clone());
        let deadline = Instant::now() + timing::APPEND;
        let removing = self.thread.spawn(async move {
            let _queued = queued?;
            appends.remove(WantedRemoval { stream, before, deadline }, &ambient).await
        });
        Box::pin(async { removing.await.unwrap_or_else(|_ended| Err(closed())) })
    }

    /// Reads on the store's thread.
    fn read<T: Send + 'static>(
        &self,
        reading: impl Future<Output = Result<T, ReadError>> + Send + 'static,
    ) -> StoreFuture<Result<T, ReadError>> {
        let Ok(place) = Arc::clone(&self.readers).try_acquire_owned() else {
            return Box::pin(std::future::ready(Err(ReadError::Overloaded)));
        };
        let reading = self.thread.spawn(async move {
            let _place = place;
            reading.await
        });
        Box::pin(async { reading.await.unwrap_or_else(|_ended| Err(unread())) })
    }
}

impl EventLog for KurrentStore {
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        let queued = check_size(&events, MAX_APPEND_BYTES)
            .and_then(|()| check_server_size(&events))
            .and_then(|()| self.queued());
        let (appends, meter) = (Arc::clone(&self.appends), Arc::clone(&self.meter));
        let deadline = Instant::now() + timing::APPEND;
        let appending = self.thread.spawn(async move {
            let count = events.len();
            let answer = match queued {
                Ok(_queued) => appends.append(WantedAppend { stream, expected, events, deadline }).await,
                Err(error) => Err(error),
            };
            meter.answered(&answer);
            if answer.is_ok() {
                meter.committed(count);
            }
            answer
        });
        Box::pin(async { appending.await.unwrap_or_else(|_ended| Err(closed())) })
    }

    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        let streams = self.streams.clone();
        self.read(async move { streams.read(VersionRange { stream, from, direction, limit }).await })
    }

    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        let reads = self.reads.clone();
        self.read(async move { reads.after(after, limit).await })
    }

    fn subscribe(&self, after: Position) -> LogSubscription {
        self.log.feed().subscribe(after)
    }

    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>> {
        let reads = self.reads.clone();
        self.read(async move { reads.at(position).await })
    }

    fn position_at(&self, time: Timestamp) -> StoreFuture<Result<Position, ReadError>> {
        let reads = self.reads.clone();
        self.read(async move { log_seek::position_at(&reads, time).await })
    }

    fn newest_within(&self, bound: Bound<Position>) -> StoreFuture<Result<Position, ReadError>> {
        let reads = self.reads.clone();
        self.read(async move { log_seek::newest_within(&reads, bound).await })
    }

    fn events_after(&self, position: Position) -> u64 {
        self.index.lock().marks().count_after(position)
    }

    fn head(&self) -> Position {
        self.log.feed().head()
    }

    fn current_head(&self) -> StoreFuture<Result<Position, ReadError>> {
        let head = Arc::clone(&self.head);
        self.read(async move { head.head().await })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn common_with(&self, earlier: Epoch) -> Position {
        self.epochs.common_with(earlier).unwrap_or_else(|| self.head())
    }

    fn max_append_bytes(&self) -> usize {
        MAX_APPEND_BYTES
    }
}

impl OpenedStore for KurrentStore {
    fn meter(&self) -> &Arc<StoreMeter> {
        &self.meter
    }

    /// Waits as long as an append may take.
    fn close(&self) {
        if self.queue.is_closed() {
            return;
        }
        let queue = Arc::clone(&self.queue);
        let waiting = async move {
            let count = u32::try_from(QUEUE).unwrap_or(u32::MAX);
            // The permits are given back to a queue that is closed then.
            drop(queue.acquire_many(count).await);
        };
        if self.thread.wait_for(waiting, timing::APPEND + timing::CALL).is_none() {
            tracing::error!("the store is closed while the database does not answer");
        }
        self.queue.close();
        self.follower.abort();
        if let (Some(keeping), Some(keeper)) = (&self.keeping, &self.keeper) {
            keeping.abort();
            keeper.write();
        }
    }
}

impl LogMaintenance for KurrentStore {
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>> {
        let names = self.index.lock().names(prefix, after.as_ref(), limit.min(MAX_READ_EVENTS));
        Box::pin(std::future::ready(Ok(names)))
    }

    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>> {
        self.remove(stream, Some(before))
    }

    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>> {
        self.remove(stream, None)
    }

    /// Scavenges every node of the database, and waits for each. It needs the user to be in `$ops` or `$admins`, and no node
    /// may be away.
    fn scrub(&self) -> StoreFuture<Result<(), AppendError>> {
        let appends = Arc::clone(&self.appends);
        let scrubbing = self.thread.spawn(async move { appends.scrub().await });
        Box::pin(async { scrubbing.await.unwrap_or_else(|_ended| Err(closed())) })
    }

    fn health(&self) -> StoreHealth {
        self.condition.health()
    }
}

/// Refuses what the server would.
fn check_server_size(events: &[NewEvent]) -> Result<(), AppendError> {
    let bytes: usize = events.iter().map(|event| event.data.len() + overhead_bytes(event)).sum();
    if bytes > MAX_SERVER_BYTES {
        return Err(AppendError::Size { max_bytes: MAX_APPEND_BYTES });
    }
    Ok(())
}

fn closed() -> AppendError {
    AppendError::Unavailable("the store is closed".to_owned())
}

fn unread() -> ReadError {
    ReadError::Unavailable("the store is closed".to_owned())
}
