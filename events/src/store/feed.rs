//! Catch-up subscriptions: first the events in the log, then those that are appended, in the order of positions, each
//! once.
//!
//! The store publishes each commit to a bounded window of recent commits. A subscriber has only a position: while the
//! window reaches back that far it is served from memory, otherwise it reads the log. So a slow subscriber costs nothing
//! and misses nothing.
//!
//! Events at the end of the log may be removed before a subscriber reads them. The subscriber then gets an empty
//! batch that says how far it is, so that nobody waits for an event that is gone.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::{ReadError, StoreFuture};
use crate::{EventId, Position, RecordedEvent};

/// How many events the window holds; a subscriber that is further behind reads the log.
const WINDOW_EVENTS: usize = 16_384;

/// How many bytes these events may have; the newest commit stays in the window whatever its size. Enough for about 12,000
/// events of the usual size, and a bound for long messages, which any visitor can write.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// How many events one read of the log requests.
const CATCH_UP_EVENTS: usize = 1_000;

/// The next part of the log, as a subscription hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// Consecutive events; empty when all of this part was removed.
    pub events: Arc<[RecordedEvent]>,
    /// The subscription has handed out everything up to here.
    pub upto: Position,
}

/// Reads the log for subscribers that are behind.
pub(crate) type ReadLog =
    Arc<dyn Fn(Position, usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> + Send + Sync>;

/// The publishing side, owned by a store.
pub(crate) struct LogFeed {
    window: Arc<RwLock<RecentWindow>>,
    head: watch::Sender<Position>,
    read: ReadLog,
}

/// Recent commits: each continues the one before without a gap.
struct RecentWindow {
    /// The position that the first commit continues.
    after: Position,
    commits: VecDeque<Arc<[RecordedEvent]>>,
    events: usize,
    bytes: usize,
}

impl LogFeed {
    pub(crate) fn new(head: Position, read: ReadLog) -> Self {
        let window = RecentWindow { after: head, commits: VecDeque::new(), events: 0, bytes: 0 };
        Self { window: Arc::new(RwLock::new(window)), head: watch::Sender::new(head), read }
    }

    /// Hands a durable commit to the subscribers.
    pub(crate) fn publish(&self, commit: Arc<[RecordedEvent]>) {
        let Some(last) = commit.last().map(|event| event.position) else { return };
        self.window.write().push(commit);
        self.head.send_replace(last);
    }

    /// Goes on to a position without the events before it: subscribers read what the log has of them.
    pub(crate) fn advance(&self, head: Position) {
        let mut window = self.window.write();
        *window = RecentWindow { after: head, commits: VecDeque::new(), events: 0, bytes: 0 };
        drop(window);
        self.head.send_replace(head);
    }

    /// Empties the window, because events that it holds were removed from the log.
    pub(crate) fn clear(&self) {
        let mut window = self.window.write();
        *window = RecentWindow { after: *self.head.borrow(), commits: VecDeque::new(), events: 0, bytes: 0 };
    }

    /// The events of recent commits that are in memory: where they are, and their ids.
    pub(crate) fn recent(&self) -> Vec<(Position, EventId)> {
        let window = self.window.read();
        let events = window.commits.iter().flat_map(|commit| commit.iter());
        events.map(|event| (event.position, event.event.id)).collect()
    }

    pub(crate) fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// Waits until everything up to a position was handed to the subscribers.
    pub(crate) async fn reach(&self, position: Position) {
        let mut head = self.head.subscribe();
        // It never ends before: this feed is the sender.
        let _reached = head.wait_for(|head| *head >= position).await;
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

impl RecentWindow {
    fn push(&mut self, commit: Arc<[RecordedEvent]>) {
        self.events += commit.len();
        self.bytes += bytes(&commit);
        self.commits.push_back(commit);
        while (self.events > WINDOW_EVENTS || self.bytes > WINDOW_BYTES) && self.commits.len() > 1 {
            let Some(oldest) = self.commits.pop_front() else { return };
            self.events -= oldest.len();
            self.bytes -= bytes(&oldest);
            self.after = oldest.last().map_or(self.after, |event| event.position);
        }
    }

    /// The commit with the first event after a position; `None` when the window starts later or does not know the position:
    /// then the log has to be read.
    fn commit_after(&self, after: Position) -> Option<Arc<[RecordedEvent]>> {
        if after < self.after {
            return None;
        }
        let ends_before =
            |commit: &Arc<[RecordedEvent]>| commit.last().is_some_and(|event| event.position <= after);
        let next = self.commits.partition_point(ends_before);
        let is_at = |event: &RecordedEvent| event.position == after;
        let before = next.checked_sub(1).and_then(|before| self.commits.get(before));
        let is_known = before.and_then(|commit| commit.last()).map_or(after == self.after, is_at);
        let commit = self.commits.get(next)?;
        (is_known || commit.iter().any(is_at)).then(|| Arc::clone(commit))
    }
}

/// The memory that events take, without the names that they share.
fn bytes(events: &[RecordedEvent]) -> usize {
    events.iter().map(|recorded| size_of::<RecordedEvent>() + recorded.event.data.len()).sum()
}

/// The receiving side: one subscriber's place in the log.
pub struct LogSubscription {
    after: Position,
    window: Arc<RwLock<RecentWindow>>,
    head: watch::Receiver<Position>,
    read: ReadLog,
}

impl LogSubscription {
    /// The next part of the log; waits when there is none yet. `None` once the store is closed and everything was handed
    /// out.
    ///
    /// # Errors
    /// When the log cannot be read. The place in the log is kept: the next call tries again.
    pub async fn next(&mut self) -> Result<Option<EventBatch>, ReadError> {
        loop {
            let head = *self.head.borrow_and_update();
            if head > self.after {
                let events = self.take().await?;
                // The log ends before its head: the events up to there were removed.
                self.after = events.last().map_or(head, |last| last.position);
                return Ok(Some(EventBatch { events, upto: self.after }));
            }
            if self.head.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Whether the next part of the log is there, so that nobody has to wait for it.
    #[must_use]
    pub fn has_more(&self) -> bool {
        *self.head.borrow() > self.after
    }

    /// The next part of the log, if it is there already. An error is left to [`Self::next`], which meets it again.
    pub async fn next_if_ready(&mut self) -> Option<EventBatch> {
        if self.has_more() { self.next().await.ok().flatten() } else { None }
    }

    /// The position up to which events were handed out.
    #[must_use]
    pub fn position(&self) -> Position {
        self.after
    }

    async fn take(&self) -> Result<Arc<[RecordedEvent]>, ReadError> {
        let recent = self.window.read().commit_after(self.after);
        match recent {
            Some(commit) if commit.first().is_some_and(|event| event.position > self.after) => Ok(commit),
            Some(commit) => Ok(commit.iter().filter(|event| event.position > self.after).cloned().collect()),
            None => Ok((self.read)(self.after, CATCH_UP_EVENTS).await?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewEvent, StreamName, Timestamp, Version};

    fn commit(position: u64, bytes: usize) -> Arc<[RecordedEvent]> {
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
    fn the_window_is_bounded_in_bytes_and_keeps_the_newest_commit() {
        let window =
            || RecentWindow { after: Position::START, commits: VecDeque::new(), events: 0, bytes: 0 };
        let mut large = window();
        (1..=100).for_each(|position| large.push(commit(position, 1024 * 1024)));
        assert!((3..=4).contains(&large.commits.len()), "{} of a megabyte", large.commits.len());
        assert_eq!(large.after.as_u64(), 100 - large.commits.len() as u64);
        assert!(large.commit_after(Position::START).is_none(), "who is behind reads the log");
        large.push(commit(101, 2 * WINDOW_BYTES));
        assert_eq!((large.commits.len(), large.events), (1, 1));
        let mut small = window();
        (1..=100).for_each(|position| small.push(commit(position, 100)));
        assert_eq!(small.commits.len(), 100);
    }
}
