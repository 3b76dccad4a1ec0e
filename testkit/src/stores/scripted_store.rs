//! A store that follows a script: each append takes the next entry, or the usual one when the script is empty, which
//! succeeds unless a test says otherwise. Readings of the whole log can be held back.

use std::{
    collections::VecDeque,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use amoiq_events::{
    EventLog, EventStore, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
    store::{
        AppendError, AppendReceipt, Epoch, ExpectedVersion, LogMaintenance, LogReader, LogSubscription,
        ReadDirection, ReadError, StoreFuture, StoreHealth, memory::MemoryStore,
    },
};
use tokio::sync::{Notify, Semaphore};

/// Clones share the log and the script.
#[derive(Clone)]
pub struct ScriptedStore {
    /// The log.
    pub memory: MemoryStore,
    script: Arc<Mutex<AppendScript>>,
    reads: Arc<AtomicUsize>,
    /// So many of the next removals are refused.
    stuck: Arc<AtomicUsize>,
    /// Reading them finds damage.
    damaged: Arc<Mutex<Vec<StreamName>>>,
    /// Up to where streams were truncated, one after the other.
    truncations: Arc<Mutex<Vec<u64>>>,
    /// What was read of the whole log is handed out when it may.
    gate: Arc<ReadGate>,
    epoch: Epoch,
}

struct ReadGate {
    may: Semaphore,
    is_closed: AtomicBool,
    waiting: AtomicUsize,
    /// How many readings there were.
    readings: AtomicUsize,
}

struct AppendScript {
    /// Of the next appends.
    next: VecDeque<ScriptedAppend>,
    /// Of those after them.
    usual: ScriptedAppend,
    /// How many events each append brought, the ones that failed among them.
    appends: Vec<usize>,
}

/// What an append does.
#[derive(Clone)]
pub enum ScriptedAppend {
    /// It appends.
    Works,
    /// Appends nothing, and says so.
    Overloaded,
    /// Appends nothing, and says that it cannot say.
    Lost,
    /// Panics, and appends nothing.
    Panics,
    /// Appends, and says that it cannot say.
    DurableButUnknown,
    /// Another writer is faster.
    After(Vec<NewEvent>),
    /// Takes this long, and says that another writer was faster.
    Conflicts(Duration),
    /// Waits until it may.
    Held(Arc<Notify>),
    /// Appends, and answers when it may.
    AnswerHeld(Arc<Notify>),
}

impl Default for ScriptedStore {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedStore {
    /// An empty store whose appends all succeed.
    pub fn new() -> Self {
        Self::over(MemoryStore::new())
    }

    /// Nodes on one log, each with a script of its own.
    pub fn nodes<const N: usize>() -> [Self; N] {
        let log = MemoryStore::new();
        [(); N].map(|()| Self::over(log.node()))
    }

    fn over(memory: MemoryStore) -> Self {
        let script =
            AppendScript { next: VecDeque::new(), usual: ScriptedAppend::Works, appends: Vec::new() };
        let script = Arc::new(Mutex::new(script));
        let (reads, stuck) = (Arc::default(), Arc::default());
        let (damaged, truncations) = (Arc::default(), Arc::default());
        let may = Semaphore::new(0);
        let (is_closed, waiting, readings) =
            (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let gate = Arc::new(ReadGate { may, is_closed, waiting, readings });
        Self { memory, script, reads, stuck, damaged, truncations, gate, epoch: Epoch(1) }
    }

    /// The same log as another history.
    pub fn with_epoch(&self, epoch: u64) -> Self {
        Self { epoch: Epoch(epoch), ..self.clone() }
    }

    /// Adds to the script of the next appends.
    pub fn next(&self, turn: ScriptedAppend) {
        self.script().next.push_back(turn);
    }

    /// From here on, whatever stood in the script.
    pub fn always(&self, turn: ScriptedAppend) {
        let mut script = self.script();
        script.next.clear();
        script.usual = turn;
    }

    /// So many of the next removals of streams are refused.
    pub fn refuse_removals(&self, count: usize) {
        self.stuck.store(count, Ordering::SeqCst);
    }

    /// From here on reading this stream finds damage.
    pub fn damage(&self, stream: StreamName) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    /// Up to where streams were truncated, one after the other.
    pub fn truncations(&self) -> Vec<u64> {
        self.truncations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many events each append brought, the ones that failed among them.
    pub fn appends(&self) -> Vec<usize> {
        self.script().appends.clone()
    }

    fn script(&self) -> MutexGuard<'_, AppendScript> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a stream was read.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// From here on readings of the whole log see what is there, and wait with it.
    pub fn hold_readings(&self) {
        self.gate.is_closed.store(true, Ordering::SeqCst);
    }

    /// How often the whole log was read on from a position.
    pub fn readings(&self) -> usize {
        self.gate.readings.load(Ordering::SeqCst)
    }

    /// How many wait.
    pub fn held_readings(&self) -> usize {
        self.gate.waiting.load(Ordering::SeqCst)
    }

    /// One may go on.
    pub fn release_reading(&self) {
        self.gate.waiting.fetch_sub(1, Ordering::SeqCst);
        self.gate.may.add_permits(1);
    }

    /// All may, and those that follow.
    pub fn release_readings(&self) {
        self.gate.is_closed.store(false, Ordering::SeqCst);
        self.gate.may.add_permits(self.gate.waiting.swap(0, Ordering::SeqCst));
    }

    /// The store as its users know it.
    pub fn shared(&self) -> Arc<dyn EventStore> {
        Arc::new(self.clone())
    }

    /// The same for those who only append and read.
    pub fn shared_log(&self) -> Arc<dyn EventLog> {
        Arc::new(self.clone())
    }

    /// The whole log.
    pub async fn log(&self) -> Vec<RecordedEvent> {
        let mut log: Vec<RecordedEvent> = Vec::new();
        let mut pages = LogReader::all(&self.memory, Position::START);
        while let Some(events) = pages.next_page().await.expect("memory can be read") {
            log.extend(events);
        }
        log
    }
}

impl EventLog for ScriptedStore {
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        let mut script = self.script();
        script.appends.push(events.len());
        let turn = script.next.pop_front().unwrap_or_else(|| script.usual.clone());
        let memory = self.memory.clone();
        let unavailable = || Err(AppendError::Unavailable("as the script says".into()));
        Box::pin(async move {
            match turn {
                ScriptedAppend::Works => memory.append(stream, expected, events).await,
                ScriptedAppend::Overloaded => Err(AppendError::Overloaded),
                ScriptedAppend::Lost => unavailable(),
                ScriptedAppend::Panics => panic!("as the script says"),
                ScriptedAppend::DurableButUnknown => {
                    memory.append(stream, expected, events).await?;
                    unavailable()
                }
                ScriptedAppend::After(others) => {
                    memory.append(stream.clone(), ExpectedVersion::Any, others).await?;
                    memory.append(stream, expected, events).await
                }
                ScriptedAppend::Conflicts(after) => {
                    tokio::time::sleep(after).await;
                    Err(AppendError::Conflict { expected, actual: Version::LAST })
                }
                ScriptedAppend::Held(may) => {
                    may.notified().await;
                    memory.append(stream, expected, events).await
                }
                ScriptedAppend::AnswerHeld(may) => {
                    let answer = memory.append(stream, expected, events).await;
                    may.notified().await;
                    answer
                }
            }
        })
    }

    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(&stream) {
            let (position, reason) = (Position::from_u64(1), "as the script says".to_owned());
            return Box::pin(async move { Err(ReadError::EventDamaged { position, reason }) });
        }
        self.memory.read_stream(stream, from, direction, limit)
    }

    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        let (memory, gate) = (self.memory.clone(), Arc::clone(&self.gate));
        gate.readings.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let answer = memory.read_all(after, limit).await;
            if gate.is_closed.load(Ordering::SeqCst) {
                gate.waiting.fetch_add(1, Ordering::SeqCst);
                gate.may.acquire().await.expect("it is never closed").forget();
            }
            answer
        })
    }

    fn subscribe(&self, after: Position) -> LogSubscription {
        self.memory.subscribe(after)
    }

    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>> {
        self.memory.event_at(position)
    }

    fn position_at(&self, time: Timestamp) -> StoreFuture<Result<Position, ReadError>> {
        self.memory.position_at(time)
    }

    fn newest_within(&self, bound: Bound<Position>) -> StoreFuture<Result<Position, ReadError>> {
        self.memory.newest_within(bound)
    }

    fn events_after(&self, position: Position) -> u64 {
        self.memory.events_after(position)
    }

    fn head(&self) -> Position {
        self.memory.head()
    }

    fn current_head(&self) -> StoreFuture<Result<Position, ReadError>> {
        self.memory.current_head()
    }

    fn is_shared(&self) -> bool {
        self.memory.is_shared()
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn max_append_bytes(&self) -> usize {
        self.memory.max_append_bytes()
    }
}

impl LogMaintenance for ScriptedStore {
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>> {
        self.memory.streams(prefix, after, limit)
    }

    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>> {
        self.truncations.lock().unwrap_or_else(PoisonError::into_inner).push(before.as_u64());
        self.memory.truncate(stream, before)
    }

    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>> {
        let less = |left: usize| left.checked_sub(1);
        if self.stuck.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Box::pin(async { Err(AppendError::Unavailable("as the script says".into())) });
        }
        self.memory.delete(stream)
    }

    fn health(&self) -> StoreHealth {
        self.memory.health()
    }
}
