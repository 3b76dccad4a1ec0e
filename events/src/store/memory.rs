//! The store in memory: for tests and simulations. It forgets everything with the process.
//!
//! Several nodes can share one log in memory ([`MemoryStore::node`]), as processes share a database.
//!
//! Its positions are like byte offsets: they skip hundreds, irregularly, and a position that it never gave out is
//! refused. So tests notice code that calculates with positions.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    AppendError, AppendReceipt, Epoch, EventLog, ExpectedVersion, LogMaintenance, LogSubscription,
    MAX_READ_EVENTS, REMEMBERED_IDS, ReadDirection, ReadError, StoreFuture, StoreHealth, feed::LogFeed,
    log::check_size,
};
use crate::{NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version};

/// The most bytes of one append, as many as the embedded store takes.
const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;

/// The store in memory. Clones are one node of one log.
#[derive(Clone)]
pub struct MemoryStore {
    log: Arc<Mutex<MemoryLog>>,
    feed: Arc<LogFeed>,
    epoch: Epoch,
    /// What this node has noticed of what other nodes removed; `None` when there is no other node.
    removals_noticed: Option<Arc<AtomicU64>>,
}

#[derive(Default)]
struct MemoryLog {
    events: BTreeMap<Position, RecordedEvent>,
    streams: BTreeMap<StreamName, StreamPositions>,
    /// Every position that was given out, in order; also those of events that were removed.
    given_out: Vec<Position>,
    /// How often events were removed.
    removals: u64,
}

/// Where a stream's events are.
#[derive(Default)]
struct StreamPositions {
    positions: BTreeMap<Version, Position>,
    /// Kept when the events before it are truncated away.
    version: Version,
}

impl MemoryStore {
    /// A store without events.
    #[must_use]
    pub fn new() -> Self {
        let log: Arc<Mutex<MemoryLog>> = Arc::default();
        Self { feed: feed(&log, Position::START), log, epoch: Epoch(1), removals_noticed: None }
    }

    /// Another node on the same log. It knows of what others append and remove only once it follows them
    /// ([`MemoryStore::follow`]), is asked for the current head, or appends something itself.
    #[must_use]
    pub fn node(&self) -> Self {
        let log = lock(&self.log);
        let head = log.given_out.last().copied().unwrap_or_default();
        let removals_noticed = Some(Arc::new(AtomicU64::new(log.removals)));
        drop(log);
        Self { log: Arc::clone(&self.log), feed: feed(&self.log, head), epoch: self.epoch, removals_noticed }
    }

    /// Hands what other nodes appended to this node's subscribers, as a node does that is woken.
    pub fn follow(&self) {
        self.hand_out(&lock(&self.log));
    }

    /// The lock is held meanwhile: commits reach the feed in the order of their positions.
    fn hand_out(&self, log: &MemoryLog) {
        if let Some(noticed) = &self.removals_noticed
            && noticed.swap(log.removals, Ordering::SeqCst) != log.removals
        {
            self.feed.clear();
        }
        let later = log.events.range((Bound::Excluded(self.feed.head()), Bound::Unbounded));
        self.feed.publish(later.map(|(_, event)| event.clone()).collect());
        if let Some(head) = log.given_out.last().filter(|head| **head > self.feed.head()) {
            // What is up to there was removed.
            self.feed.advance(*head);
        }
    }

    fn change(&self, change: impl FnOnce(&mut MemoryLog)) -> StoreFuture<Result<(), AppendError>> {
        // The lock is held while clearing: no commit falls between the window and the head.
        let mut log = lock(&self.log);
        change(&mut log);
        log.removals += 1;
        self.feed.clear();
        ready(Ok(()))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl EventLog for MemoryStore {
    fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        if let Err(error) = check_size(&events, MAX_APPEND_BYTES) {
            return ready(Err(error));
        }
        // The lock is held while publishing: commits reach the feed in the order of their positions.
        let mut log = lock(&self.log);
        let added = log.append(&stream, expected, events);
        ready(added.map(|(appended, commit)| {
            if self.is_shared() {
                self.hand_out(&log);
            } else {
                self.feed.publish(commit);
            }
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
        ready(lock(&self.log).after(after, limit))
    }

    fn subscribe(&self, after: Position) -> LogSubscription {
        self.feed.subscribe(after)
    }

    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>> {
        let log = lock(&self.log);
        ready(log.check(position).map(|()| log.events.get(&position).cloned()))
    }

    fn position_at(&self, time: Timestamp) -> StoreFuture<Result<Position, ReadError>> {
        let log = lock(&self.log);
        let before = log.events.values().rev().find(|event| event.event.time < time);
        ready(Ok(before.map_or(Position::START, |event| event.position)))
    }

    fn newest_within(&self, bound: Bound<Position>) -> StoreFuture<Result<Position, ReadError>> {
        let log = lock(&self.log);
        let is_within = |position: &Position| match bound {
            Bound::Included(end) => *position <= end,
            Bound::Excluded(end) => *position < end,
            Bound::Unbounded => true,
        };
        ready(Ok(log.given_out.iter().rfind(|position| is_within(position)).copied().unwrap_or_default()))
    }

    fn events_after(&self, position: Position) -> u64 {
        let log = lock(&self.log);
        let passed = log.given_out.partition_point(|known| *known <= position);
        (log.given_out.len() - passed) as u64
    }

    fn head(&self) -> Position {
        self.feed.head()
    }

    fn current_head(&self) -> StoreFuture<Result<Position, ReadError>> {
        if self.is_shared() {
            self.follow();
        }
        ready(Ok(self.head()))
    }

    fn is_shared(&self) -> bool {
        self.removals_noticed.is_some()
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn max_append_bytes(&self) -> usize {
        MAX_APPEND_BYTES
    }
}

impl LogMaintenance for MemoryStore {
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
            log.remove(&stream, Version::LAST);
            log.streams.remove(&stream);
        })
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Writable
    }
}

impl MemoryLog {
    fn append(
        &mut self,
        stream: &StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> Result<(AppendReceipt, Arc<[RecordedEvent]>), AppendError> {
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
        let mut last = self.given_out.last().copied().unwrap_or_default();
        let mut commit = Vec::with_capacity(events.len());
        for event in events {
            last = Position::from_u64(last.as_u64() + skip(&event, last));
            known.version = known.version.next();
            known.positions.insert(known.version, last);
            let (position, version) = (last, known.version);
            commit.push(RecordedEvent { position, stream: stream.clone(), version, event });
        }
        self.given_out.extend(commit.iter().map(|event| event.position));
        self.events.extend(commit.iter().map(|event| (event.position, event.clone())));
        Ok((AppendReceipt { version: known.version, position: last }, commit.into()))
    }

    /// The first receipt, if exactly these events are already stored.
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

    /// The version before this event's, if it is one of the last.
    fn before_recent(&self, stream: &StreamName, event: &NewEvent) -> Option<Version> {
        let mut recent = self.events.values().rev().take(REMEMBERED_IDS);
        let found = recent.find(|known| known.event.id == event.id && known.stream == *stream)?;
        Some(found.version.previous().unwrap_or_default())
    }

    /// Refuses a position that was never given out.
    fn check(&self, position: Position) -> Result<(), ReadError> {
        let is_known = position == Position::START || self.given_out.binary_search(&position).is_ok();
        if is_known { Ok(()) } else { Err(ReadError::UnknownPosition(position)) }
    }

    fn after(&self, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.check(after)?;
        let later = self.events.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(later.take(limit.min(MAX_READ_EVENTS)).map(|(_, event)| event.clone()).collect())
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

/// How far an event's position is from the previous one: about the bytes that it would take.
fn skip(event: &NewEvent, last: Position) -> u64 {
    let bytes = event.kind.len() + event.causation.len() + event.actor.len() + event.data.len();
    128 + bytes as u64 + last.as_u64() % 61
}

/// The feed of one node.
fn feed(log: &Arc<Mutex<MemoryLog>>, head: Position) -> Arc<LogFeed> {
    let shared = Arc::clone(log);
    let read = move |after, limit| ready(lock(&shared).after(after, limit));
    Arc::new(LogFeed::new(head, Arc::new(read)))
}

fn lock(log: &Mutex<MemoryLog>) -> MutexGuard<'_, MemoryLog> {
    log.lock()
}

fn ready<T: Send + 'static>(value: T) -> StoreFuture<T> {
    Box::pin(std::future::ready(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventId;

    #[tokio::test]
    async fn a_position_between_two_events_is_refused() {
        let store = MemoryStore::new();
        for number in 1..=3 {
            let event = NewEvent {
                id: EventId::from_uuid(uuid::Uuid::from_u128(number)),
                kind: "node.started".into(),
                schema: 1,
                time: Timestamp::from_millis(1),
                causation: "test".into(),
                actor: "test".into(),
                data: b"{}".as_slice().into(),
            };
            store.append(StreamName::node("n"), ExpectedVersion::Any, vec![event]).await.unwrap();
        }
        let unknown = Position::from_u64(store.head().as_u64() - 1);
        assert_eq!(store.read_all(unknown, 1).await, Err(ReadError::UnknownPosition(unknown)));
        assert_eq!(store.event_at(unknown).await, Err(ReadError::UnknownPosition(unknown)));
        assert_eq!(store.subscribe(unknown).next().await, Err(ReadError::UnknownPosition(unknown)));
    }
}
