//! A store that refuses, forgets to answer or panics as it is told, over the one in memory; it notes
//! how many events each append brought.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use amoiq_events::{
    EventStore, NewEvent, Position, RecordedEvent, StreamName, Version,
    store::{
        AppendError, Appended, Direction, Epoch, Expected, Health, Pending, ReadError, Subscription,
        memory::MemoryStore,
    },
};
use tokio::sync::Notify;

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct MoodyStore {
    pub(crate) memory: MemoryStore,
    moods: Arc<Mutex<Moods>>,
}

struct Moods {
    /// Of the next appends.
    next: VecDeque<Mood>,
    /// Of those after them.
    usual: Mood,
    appends: Vec<usize>,
}

/// What an append does.
#[derive(Clone)]
pub(crate) enum Mood {
    Works,
    /// Appends nothing, and says so.
    Overloaded,
    /// Appends nothing, and says that it cannot say.
    Lost,
    /// Appends, and says that it cannot say.
    Unknown,
    Panics,
    /// Waits until it may.
    Held(Arc<Notify>),
}

impl MoodyStore {
    pub(crate) fn new() -> Self {
        let moods = Moods { next: VecDeque::new(), usual: Mood::Works, appends: Vec::new() };
        Self { memory: MemoryStore::new(), moods: Arc::new(Mutex::new(moods)) }
    }

    pub(crate) fn next(&self, mood: Mood) {
        self.moods().next.push_back(mood);
    }

    /// From here on.
    pub(crate) fn always(&self, mood: Mood) {
        let mut moods = self.moods();
        moods.next.clear();
        moods.usual = mood;
    }

    /// How many events each append brought, the ones that failed among them.
    pub(crate) fn appends(&self) -> Vec<usize> {
        self.moods().appends.clone()
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

    fn moods(&self) -> MutexGuard<'_, Moods> {
        self.moods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventStore for MoodyStore {
    fn append(
        &self,
        stream: StreamName,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> Pending<Result<Appended, AppendError>> {
        let mut moods = self.moods();
        moods.appends.push(events.len());
        let mood = moods.next.pop_front().unwrap_or_else(|| moods.usual.clone());
        let memory = self.memory.clone();
        let unavailable = || Err(AppendError::Unavailable("as it was told".into()));
        Box::pin(async move {
            match mood {
                Mood::Works => memory.append(stream, expected, events).await,
                Mood::Overloaded => Err(AppendError::Overloaded),
                Mood::Lost => unavailable(),
                Mood::Unknown => {
                    memory.append(stream, expected, events).await?;
                    unavailable()
                }
                Mood::Panics => panic!("as it was told"),
                Mood::Held(may) => {
                    may.notified().await;
                    memory.append(stream, expected, events).await
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
        self.memory.epoch()
    }

    fn health(&self) -> Health {
        self.memory.health()
    }
}
