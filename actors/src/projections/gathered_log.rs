//! The log for those who fold it in batches: one wake-up and one commit for everything that comes within a moment.
//!
//! What is gathered is late by at most [`GATHER_FOR`]. A reader that waits ends the gathering, so it waits no longer than
//! without it.

use std::time::Duration;

use amoiq_events::store::{EventBatch, LogSubscription, ReadError};
use tokio::time::Instant;

use super::projection::ProgressReporter;

/// How long events are gathered, from the first one on.
const GATHER_FOR: Duration = Duration::from_millis(50);

/// Who has gathered so many events does not wait for more. One part of the log may have more.
const MOST_EVENTS: usize = 4_096;

/// The same for the bytes of their data.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A subscription that gathers.
pub(crate) struct GatheredLog {
    subscription: LogSubscription,
    progress: ProgressReporter,
    parts: Vec<EventBatch>,
    events: usize,
    bytes: usize,
}

impl GatheredLog {
    /// `progress` is that of the readers who wait.
    pub(crate) fn new(subscription: LogSubscription, progress: ProgressReporter) -> Self {
        Self { subscription, progress, parts: Vec::new(), events: 0, bytes: 0 }
    }

    /// The next parts of the log; none once the store is closed and everything was handed out. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// When the log cannot be read: the next call tries again.
    pub(crate) async fn next(&mut self) -> Result<Vec<EventBatch>, ReadError> {
        if self.parts.is_empty() {
            let Some(first) = self.subscription.next().await? else { return Ok(Vec::new()) };
            self.push(first);
        }
        let until = Instant::now() + GATHER_FOR;
        self.take_ready().await;
        if !self.is_full() {
            // Not woken for what comes meanwhile.
            let _late = tokio::time::timeout_at(until, self.progress.reader_waits()).await;
            self.take_ready().await;
        }
        (self.events, self.bytes) = (0, 0);
        Ok(std::mem::take(&mut self.parts))
    }

    /// Takes what is in the log already.
    async fn take_ready(&mut self) {
        while !self.is_full()
            && let Some(part) = self.subscription.next_if_ready().await
        {
            self.push(part);
        }
    }

    fn push(&mut self, part: EventBatch) {
        self.events += part.events.len();
        self.bytes += part.events.iter().map(|recorded| recorded.event.data.len()).sum::<usize>();
        self.parts.push(part);
    }

    fn is_full(&self) -> bool {
        self.events >= MOST_EVENTS || self.bytes >= MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use amoiq_events::{
        Ambient, EventLog, NewEvent, Position, StreamName,
        store::{ExpectedVersion, memory::MemoryStore},
    };

    use super::*;
    use crate::projections::ProjectionProgress;

    async fn append(store: &MemoryStore, events: usize) {
        let ambient = Ambient::system();
        for _ in 0..events {
            let event = NewEvent {
                id: ambient.event_id(),
                kind: "node.started".into(),
                schema: 1,
                time: ambient.now(),
                causation: "test".into(),
                actor: "test".into(),
                data: b"{}".as_slice().into(),
            };
            let appended = store.append(StreamName::node("node"), ExpectedVersion::Any, vec![event]).await;
            appended.expect("it is appended");
        }
    }

    fn gathered(store: &MemoryStore) -> (GatheredLog, ProjectionProgress) {
        let (reporter, progress, _damages) = ProjectionProgress::new();
        (GatheredLog::new(store.subscribe(Position::START), reporter), progress)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_appended_within_a_moment_comes_together() {
        let store = MemoryStore::new();
        let (mut log, _progress) = gathered(&store);
        let begun = Instant::now();
        let appending = async {
            for _ in 0..4 {
                append(&store, 1).await;
                tokio::time::sleep(GATHER_FOR / 5).await;
            }
        };
        let (parts, ()) = tokio::join!(log.next(), appending);
        assert_eq!(parts.unwrap().last().unwrap().upto, store.head());
        assert_eq!(begun.elapsed(), GATHER_FOR, "from the first one on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_ends_the_gathering() {
        let store = MemoryStore::new();
        let (mut log, progress) = gathered(&store);
        let reading = async {
            append(&store, 1).await;
            tokio::time::sleep(GATHER_FOR / 5).await;
            append(&store, 1).await;
            progress.reach(store.head(), GATHER_FOR / 5).await
        };
        let begun = Instant::now();
        let folding = async {
            let parts = log.next().await.unwrap();
            log.progress.reached(parts.last().unwrap().upto);
        };
        let (read, ()) = tokio::join!(reading, folding);
        read.expect("it does not wait");
        assert_eq!(begun.elapsed(), GATHER_FOR / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_behind_waits_for_nothing() {
        let store = MemoryStore::new();
        append(&store, 2 * MOST_EVENTS).await;
        let (mut log, _progress) = gathered(&store);
        let begun = Instant::now();
        log.next().await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
