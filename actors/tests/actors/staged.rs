//! A store that does as it is told: each append takes the next turn of a script, and is an ordinary
//! one when there is none.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use amoiq_events::{
    EventStore, NewEvent, Position, RecordedEvent, StreamName, Version,
    store::{
        AppendError, Appended, Direction, Epoch, Expected, Health, Pending, ReadError, Subscription,
        memory::MemoryStore,
    },
};
use tokio::sync::Notify;

/// Clones share the log and the script.
#[derive(Clone)]
pub(crate) struct StagedStore {
    pub(crate) memory: MemoryStore,
    turns: Arc<Mutex<VecDeque<Turn>>>,
    reads: Arc<AtomicUsize>,
    epoch: Epoch,
}

/// What an append does.
pub(crate) enum Turn {
    /// Panics, and appends nothing.
    Panics,
    /// Appends, and says that it cannot say.
    DurableButUnknown,
    /// Another writer is faster.
    After(Vec<NewEvent>),
    /// Waits until it may.
    Held(Arc<Notify>),
    /// Appends, and answers when it may.
    AnswerHeld(Arc<Notify>),
}

impl StagedStore {
    pub(crate) fn new() -> Self {
        Self { memory: MemoryStore::new(), turns: Arc::default(), reads: Arc::default(), epoch: Epoch(1) }
    }

    /// The same log as another history.
    pub(crate) fn with_epoch(&self, epoch: u64) -> Self {
        Self { epoch: Epoch(epoch), ..self.clone() }
    }

    pub(crate) fn next(&self, turn: Turn) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push_back(turn);
    }

    /// How often a stream was read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn shared(&self) -> Arc<dyn EventStore> {
        Arc::new(self.clone())
    }

    /// The whole log.
    pub(crate) async fn log(&self) -> Vec<RecordedEvent> {
        let mut log: Vec<RecordedEvent> = Vec::new();
        loop {
            let after = log.last().map(|event| event.position).unwrap_or_default();
            let events = self.memory.read_all(after, usize::MAX).await.expect("memory can be read");
            if events.is_empty() {
                return log;
            }
            log.extend(events);
        }
    }
}

impl EventStore for StagedStore {
    fn append(
        &self,
        stream: StreamName,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> Pending<Result<Appended, AppendError>> {
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let memory = self.memory.clone();
        Box::pin(async move {
            match turn {
                None => memory.append(stream, expected, events).await,
                Some(Turn::Panics) => panic!("as the script says"),
                Some(Turn::DurableButUnknown) => {
                    memory.append(stream, expected, events).await?;
                    Err(AppendError::Unavailable("as the script says".into()))
                }
                Some(Turn::After(others)) => {
                    memory.append(stream.clone(), Expected::Any, others).await?;
                    memory.append(stream, expected, events).await
                }
                Some(Turn::Held(may)) => {
                    may.notified().await;
                    memory.append(stream, expected, events).await
                }
                Some(Turn::AnswerHeld(may)) => {
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
        direction: Direction,
        limit: usize,
    ) -> Pending<Result<Vec<RecordedEvent>, ReadError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.memory.read_stream(stream, from, direction, limit)
    }

    fn read_all(&self, after: Position, limit: usize) -> Pending<Result<Vec<RecordedEvent>, ReadError>> {
        self.memory.read_all(after, limit)
    }

    fn subscribe(&self, after: Position) -> Subscription {
        self.memory.subscribe(after)
    }

    fn head(&self) -> Position {
        self.memory.head()
    }

    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> Pending<Result<Vec<StreamName>, ReadError>> {
        self.memory.streams(prefix, after, limit)
    }

    fn truncate(&self, stream: StreamName, before: Version) -> Pending<Result<(), AppendError>> {
        self.memory.truncate(stream, before)
    }

    fn delete(&self, stream: StreamName) -> Pending<Result<(), AppendError>> {
        self.memory.delete(stream)
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn health(&self) -> Health {
        self.memory.health()
    }
}
