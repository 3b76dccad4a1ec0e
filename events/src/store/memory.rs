//! The store in memory: for tests and simulations. It forgets everything with the process.
//!
//! Its positions skip on purpose, so that nothing comes to rely on the next one being one more.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    AppendError, AppendReceipt, Epoch, EventBatch, EventStore, ExpectedVersion, LogSubscription,
    MAX_READ_EVENTS, REMEMBERED_IDS, ReadDirection, ReadError, StoreFuture, StoreHealth, check_size,
    feed::Feed,
};
use crate::{NewEvent, Position, RecordedEvent, StreamName, Version};

/// The store in memory. Clones share one log.
#[derive(Clone)]
pub struct MemoryStore {
    log: Arc<Mutex<Log>>,
    feed: Arc<Feed>,
    epoch: Epoch,
}

#[derive(Default)]
struct Log {
    events: BTreeMap<Position, RecordedEvent>,
    streams: BTreeMap<StreamName, Stream>,
    last: Position,
}

/// Where a stream's events stand.
#[derive(Default)]
struct Stream {
    positions: BTreeMap<Version, Position>,
    /// Kept when the events before it are truncated away.
    version: Version,
}

impl MemoryStore {
    /// A store without events.
    #[must_use]
    pub fn new() -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = Arc::clone(&log);
        let read = move |after, limit| ready(Ok(lock(&shared).after(after, limit)));
        Self { log, feed: Arc::new(Feed::new(Position::START, Arc::new(read))), epoch: Epoch(1) }
    }

    fn change(&self, change: impl FnOnce(&mut Log)) -> StoreFuture<Result<(), AppendError>> {
        // The lock is held while clearing: no batch falls between the window and the head.
        let mut log = lock(&self.log);
        change(&mut log);
        self.feed.clear();
        ready(Ok(()))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStore for MemoryStore {
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        if let Err(error) = check_size(&events) {
            return ready(Err(error));
        }
        // The lock is held while publishing: batches reach the feed in the order of their positions.
        let mut log = lock(&self.log);
        let added = log.append(&stream, expected, events);
        ready(added.map(|(appended, batch)| {
            self.feed.publish(batch);
            appended
        }))
    }

    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        ready(Ok(lock(&self.log).stream(&stream, from, direction, limit.min(MAX_READ_EVENTS))))
    }

    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        ready(Ok(lock(&self.log).after(after, limit)))
    }

    fn subscribe(&self, after: Position) -> LogSubscription {
        self.feed.subscribe(after)
    }

    fn head(&self) -> Position {
        self.feed.head()
    }

    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>> {
        let log = lock(&self.log);
        let names = log.streams.keys().filter(|name| name.as_str().starts_with(prefix));
        let names = names.filter(|name| after.as_ref().is_none_or(|after| *name > after));
        ready(Ok(names.take(limit.min(MAX_READ_EVENTS)).cloned().collect()))
    }

    fn truncate(&self, stream: StreamName, before: Version) -> StoreFuture<Result<(), AppendError>> {
        self.change(|log| log.remove(&stream, before))
    }

    fn delete(&self, stream: StreamName) -> StoreFuture<Result<(), AppendError>> {
        self.change(|log| {
            log.remove(&stream, Version::from_u64(u64::MAX));
            log.streams.remove(&stream);
        })
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Writable
    }
}

impl Log {
    fn append(
        &mut self,
        stream: &StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> Result<(AppendReceipt, EventBatch), AppendError> {
        let actual = self.streams.get(stream).map(|known| known.version).unwrap_or_default();
        let fits = match expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => actual == Version::NONE,
            ExpectedVersion::Exact(version) => actual == version,
        };
        if let Some(first) = self.repeated(stream, expected, &events) {
            return Ok((first, Arc::new([])));
        }
        if !fits {
            return Err(AppendError::Conflict { expected, actual });
        }
        let known = self.streams.entry(stream.clone()).or_default();
        let mut batch = Vec::with_capacity(events.len());
        for event in events {
            let skip = 1 + self.last.as_u64() % 3;
            self.last = Position::from_u64(self.last.as_u64() + skip);
            known.version = known.version.plus(1);
            known.positions.insert(known.version, self.last);
            let (position, version) = (self.last, known.version);
            batch.push(RecordedEvent { position, stream: stream.clone(), version, event });
        }
        self.events.extend(batch.iter().map(|event| (event.position, event.clone())));
        Ok((AppendReceipt { version: known.version, position: self.last }, batch.into()))
    }

    /// The first answer, when these very events are stored already.
    fn repeated(
        &self,
        stream: &StreamName,
        expected: ExpectedVersion,
        events: &[NewEvent],
    ) -> Option<AppendReceipt> {
        let before = match expected {
            ExpectedVersion::Any => self.before_recent(stream, events.first()?)?,
            ExpectedVersion::NoStream => Version::NONE,
            ExpectedVersion::Exact(version) => version,
        };
        let known = self.streams.get(stream)?;
        let mut last = None;
        for (number, event) in (1..).zip(events) {
            let version = before.plus(number);
            let position = *known.positions.get(&version)?;
            self.events.get(&position).filter(|stored| stored.event.id == event.id)?;
            last = Some(AppendReceipt { version, position });
        }
        last
    }

    /// The version before this event's, when it is one of the last.
    fn before_recent(&self, stream: &StreamName, event: &NewEvent) -> Option<Version> {
        let mut recent = self.events.values().rev().take(REMEMBERED_IDS);
        let found = recent.find(|known| known.event.id == event.id && known.stream == *stream)?;
        Some(Version::from_u64(found.version.as_u64() - 1))
    }

    fn after(&self, after: Position, limit: usize) -> Vec<RecordedEvent> {
        let behind = self.events.range((Bound::Excluded(after), Bound::Unbounded));
        behind.take(limit.min(MAX_READ_EVENTS)).map(|(_, event)| event.clone()).collect()
    }

    fn stream(
        &self,
        stream: &StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> Vec<RecordedEvent> {
        let Some(known) = self.streams.get(stream) else { return Vec::new() };
        let event = |(_, position): (&Version, &Position)| self.events.get(position).cloned();
        match direction {
            ReadDirection::Forward => known.positions.range(from..).take(limit).filter_map(event).collect(),
            ReadDirection::Backward => {
                known.positions.range(..=from).rev().take(limit).filter_map(event).collect()
            }
        }
    }

    fn remove(&mut self, stream: &StreamName, before: Version) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        let kept = known.positions.split_off(&before);
        for position in std::mem::replace(&mut known.positions, kept).into_values() {
            self.events.remove(&position);
        }
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ready<T: Send + 'static>(value: T) -> StoreFuture<T> {
    Box::pin(std::future::ready(value))
}
