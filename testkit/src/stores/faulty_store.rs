//! A store that fails by seed, over the one in memory: appends that are lost, that are durable
//! although the answer says otherwise, or that become so later; reads that are refused; answers
//! that take their time.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use amoiq_events::{
    EventLog, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
    store::{
        AppendError, AppendReceipt, Epoch, ExpectedVersion, LogMaintenance, LogSubscription, ReadDirection,
        ReadError, StoreFuture, StoreHealth, memory::MemoryStore,
    },
};

use super::SeededDice;

/// No answer is delayed by as much as this.
const DELAY_MILLIS: u64 = 6;

/// Clones share the log and the trouble.
#[derive(Clone)]
pub struct FaultyStore {
    memory: MemoryStore,
    dice: SeededDice,
    /// How many of a hundred operations fail.
    trouble: Arc<AtomicU64>,
    in_doubt: Arc<Mutex<BTreeMap<StreamName, u64>>>,
}

/// What becomes of an append.
#[derive(Debug, Clone, Copy)]
enum AppendFate {
    Answered,
    /// Not durable, and said so.
    Lost,
    /// Durable, and said not to be.
    Ambiguous,
    /// Said not to be durable, and durable a little later.
    Late,
    Overloaded,
}

impl FaultyStore {
    /// A store over this one, of which so many in a hundred operations fail.
    pub fn new(memory: MemoryStore, dice: SeededDice, trouble_percent: u64) -> Self {
        Self { memory, dice, trouble: Arc::new(AtomicU64::new(trouble_percent)), in_doubt: Arc::default() }
    }

    /// From here on nothing fails.
    pub fn calm_down(&self) {
        self.trouble.store(0, Ordering::SeqCst);
    }

    /// The version that a stream had after its last append that was durable and said not to be: whoever
    /// was told so has to look.
    pub fn in_doubt(&self, stream: &StreamName) -> u64 {
        let in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
        in_doubt.get(stream).copied().unwrap_or_default()
    }

    /// Hands what other nodes appended to the subscribers of this one.
    pub fn follow(&self) {
        self.memory.follow();
    }

    fn fails(&self) -> bool {
        self.dice.percent(self.trouble.load(Ordering::SeqCst))
    }

    fn fate(&self) -> AppendFate {
        if self.fails() {
            self.dice.pick(&[
                AppendFate::Lost,
                AppendFate::Ambiguous,
                AppendFate::Ambiguous,
                AppendFate::Late,
                AppendFate::Overloaded,
            ])
        } else {
            AppendFate::Answered
        }
    }

    fn delay(&self) -> Duration {
        if self.dice.one_in(2) { Duration::ZERO } else { self.dice.millis_below(DELAY_MILLIS) }
    }
}

impl EventLog for FaultyStore {
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        let (memory, fate) = (self.memory.clone(), self.fate());
        let (before, after) = (self.delay(), self.delay());
        let in_doubt = Arc::clone(&self.in_doubt);
        Box::pin(async move {
            pass(before).await;
            match fate {
                AppendFate::Answered => {
                    let answer = memory.append(stream, expected, events).await;
                    pass(after).await;
                    return answer;
                }
                AppendFate::Ambiguous => {
                    let answer = memory.append(stream.clone(), expected, events).await;
                    pass(after).await;
                    if let Ok(appended) = answer {
                        let mut in_doubt = in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
                        in_doubt.insert(stream, appended.version.as_u64());
                    }
                }
                AppendFate::Late => {
                    tokio::task::spawn_local(async move {
                        pass(after).await;
                        drop(memory.append(stream, expected, events).await);
                    });
                }
                AppendFate::Overloaded => return Err(AppendError::Overloaded),
                AppendFate::Lost => pass(after).await,
            }
            Err(AppendError::Unavailable("by seed".into()))
        })
    }

    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        let (memory, fails) = (self.memory.clone(), self.fails());
        let (before, after) = (self.delay(), self.delay());
        let error = if self.dice.one_in(2) {
            ReadError::Overloaded
        } else {
            ReadError::Unavailable("by seed".into())
        };
        Box::pin(async move {
            pass(before).await;
            if fails {
                return Err(error);
            }
            // What was read grows old on its way.
            let answer = memory.read_stream(stream, from, direction, limit).await;
            pass(after).await;
            answer
        })
    }

    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        let (memory, fails, before) = (self.memory.clone(), self.fails(), self.delay());
        Box::pin(async move {
            pass(before).await;
            if fails {
                Err(ReadError::Unavailable("by seed".into()))
            } else {
                memory.read_all(after, limit).await
            }
        })
    }

    fn subscribe(&self, after: Position) -> LogSubscription {
        self.memory.subscribe(after)
    }

    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>> {
        let (memory, fails, before) = (self.memory.clone(), self.fails(), self.delay());
        Box::pin(async move {
            pass(before).await;
            if fails {
                Err(ReadError::Unavailable("by seed".into()))
            } else {
                memory.event_at(position).await
            }
        })
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
        let (memory, fails, before) = (self.memory.clone(), self.fails(), self.delay());
        Box::pin(async move {
            pass(before).await;
            if fails { Err(ReadError::Unavailable("by seed".into())) } else { memory.current_head().await }
        })
    }

    fn is_shared(&self) -> bool {
        self.memory.is_shared()
    }

    fn epoch(&self) -> Epoch {
        self.memory.epoch()
    }

    fn max_append_bytes(&self) -> usize {
        self.memory.max_append_bytes()
    }
}

impl LogMaintenance for FaultyStore {
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>> {
        self.memory.streams(prefix, after, limit)
    }

    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>> {
        self.memory.truncate(stream, before)
    }

    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>> {
        self.memory.delete(stream)
    }

    fn health(&self) -> StoreHealth {
        self.memory.health()
    }
}

async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
