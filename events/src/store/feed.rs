//! Catch-up subscriptions: first what is in the log, then what is appended, in position order, each
//! event once.
//!
//! The store publishes each commit into a bounded window of recent batches. A subscriber only holds
//! a position: while the window reaches back that far it is served from memory, otherwise it reads
//! the log. So a slow subscriber costs nothing and misses nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::watch;

use super::{ReadError, StoreFuture};
use crate::{Position, RecordedEvent};

/// How many events the window holds; a subscriber that is further behind reads the log.
const WINDOW_EVENTS: usize = 16_384;

/// How many bytes they have at the most, but for the newest batch, which is there whatever it has. Some 12,000 events of
/// the usual size; long messages, which any visitor can write, take no more memory than these.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// How many events one read of the log asks for.
const CATCH_UP_EVENTS: usize = 1_000;

/// Neighbouring events of the log.
pub type EventBatch = Arc<[RecordedEvent]>;

/// Reads the log for subscribers that are behind.
pub(crate) type ReadLog =
    Arc<dyn Fn(Position, usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> + Send + Sync>;

/// The publishing side, owned by a store.
pub(crate) struct Feed {
    window: Arc<RwLock<Window>>,
    head: watch::Sender<Position>,
    read: ReadLog,
}

/// Recent batches: each continues the one before without a gap.
struct Window {
    /// The position that the first batch continues.
    after: Position,
    batches: VecDeque<EventBatch>,
    events: usize,
    bytes: usize,
}

impl Feed {
    pub(crate) fn new(head: Position, read: ReadLog) -> Self {
        let window = Window { after: head, batches: VecDeque::new(), events: 0, bytes: 0 };
        Self { window: Arc::new(RwLock::new(window)), head: watch::Sender::new(head), read }
    }

    /// Hands a durable batch to the subscribers.
    pub(crate) fn publish(&self, batch: EventBatch) {
        let Some(last) = batch.last().map(|event| event.position) else { return };
        self.window.write().unwrap_or_else(PoisonError::into_inner).push(batch);
        self.head.send_replace(last);
    }

    /// Forgets what the window holds, because the log was changed behind it.
    pub(crate) fn clear(&self) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        *window = Window { after: *self.head.borrow(), batches: VecDeque::new(), events: 0, bytes: 0 };
    }

    pub(crate) fn head(&self) -> Position {
        *self.head.borrow()
    }

    pub(crate) fn subscribe(&self, after: Position) -> LogSubscription {
        LogSubscription {
            after,
            window: Arc::clone(&self.window),
            head: self.head.subscribe(),
            read: Arc::clone(&self.read),
        }
    }
}

impl Window {
    fn push(&mut self, batch: EventBatch) {
        self.events += batch.len();
        self.bytes += bytes(&batch);
        self.batches.push_back(batch);
        while (self.events > WINDOW_EVENTS || self.bytes > WINDOW_BYTES) && self.batches.len() > 1 {
            let Some(oldest) = self.batches.pop_front() else { return };
            self.events -= oldest.len();
            self.bytes -= bytes(&oldest);
            self.after = oldest.last().map_or(self.after, |event| event.position);
        }
    }

    /// The batch that holds the first event after a position; nothing when the window begins later.
    fn batch_after(&self, after: Position) -> Option<EventBatch> {
        if after < self.after {
            return None;
        }
        let ends_before = |batch: &EventBatch| batch.last().is_some_and(|event| event.position <= after);
        self.batches.get(self.batches.partition_point(ends_before)).cloned()
    }
}

/// What a batch takes of memory, but for names that events share.
fn bytes(batch: &[RecordedEvent]) -> usize {
    batch.iter().map(|recorded| size_of::<RecordedEvent>() + recorded.event.data.len()).sum()
}

/// The receiving side: one subscriber's place in the log.
pub struct LogSubscription {
    after: Position,
    window: Arc<RwLock<Window>>,
    head: watch::Receiver<Position>,
    read: ReadLog,
}

impl LogSubscription {
    /// The next events, at least one; waits when there are none yet. Nothing once the store is closed
    /// and everything was handed out.
    ///
    /// # Errors
    /// When the log cannot be read. The place in the log is kept: the next call tries again.
    pub async fn next(&mut self) -> Result<Option<EventBatch>, ReadError> {
        loop {
            let head = *self.head.borrow_and_update();
            if head > self.after {
                let batch = self.take().await?;
                if let Some(last) = batch.last() {
                    self.after = last.position;
                    return Ok(Some(batch));
                }
                // The log ends before its head: what stood there was deleted.
                self.after = head;
            }
            if self.head.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// The position up to which events were handed out.
    #[must_use]
    pub fn position(&self) -> Position {
        self.after
    }

    async fn take(&self) -> Result<EventBatch, ReadError> {
        let recent = self.window.read().unwrap_or_else(PoisonError::into_inner).batch_after(self.after);
        match recent {
            Some(batch) if batch.first().is_some_and(|event| event.position > self.after) => Ok(batch),
            Some(batch) => Ok(batch.iter().filter(|event| event.position > self.after).cloned().collect()),
            None => Ok((self.read)(self.after, CATCH_UP_EVENTS).await?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, NewEvent, StreamName, Timestamp, Version};

    fn batch(position: u64, bytes: usize) -> EventBatch {
        let event = NewEvent {
            id: EventId::from_uuid(uuid::Uuid::from_u128(u128::from(position))),
            kind: "node.started".into(),
            schema: 1,
            time: Timestamp::from_millis(1),
            causation: "test".into(),
            actor: "test".into(),
            data: vec![b'x'; bytes].into(),
        };
        let (position, stream) = (Position::from_u64(position), StreamName::node("node"));
        Arc::new([RecordedEvent { position, stream, version: Version::from_u64(1), event }])
    }

    #[test]
    fn the_window_is_bounded_in_bytes_and_keeps_the_newest_batch() {
        let window = || Window { after: Position::START, batches: VecDeque::new(), events: 0, bytes: 0 };
        let mut large = window();
        (1..=100).for_each(|position| large.push(batch(position, 1024 * 1024)));
        assert!((3..=4).contains(&large.batches.len()), "{} of a megabyte", large.batches.len());
        assert_eq!(large.after.as_u64(), 100 - large.batches.len() as u64);
        assert!(large.batch_after(Position::START).is_none(), "who is behind reads the log");
        large.push(batch(101, 2 * WINDOW_BYTES));
        assert_eq!((large.batches.len(), large.events), (1, 1));
        let mut small = window();
        (1..=100).for_each(|position| small.push(batch(position, 100)));
        assert_eq!(small.batches.len(), 100);
    }
}
