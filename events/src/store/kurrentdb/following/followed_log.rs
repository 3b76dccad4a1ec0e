//! How far this node has followed the log, for everybody who waits for it or asks what is known.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{
    log_index::{IndexChange, StreamPlace},
    shared_index::SharedIndex,
};
use crate::{
    Position, RecordedEvent, StreamName,
    store::{
        ReadError,
        feed::LogFeed,
        kurrentdb::{
            connecting::known_history::KnownHistory,
            records::log_record::{LogRecord, WireRecord},
        },
    },
};

/// The index of the log, and the feed of those who follow it.
pub(in crate::store::kurrentdb) struct FollowedLog {
    index: Arc<SharedIndex>,
    feed: LogFeed,
    known: Arc<KnownHistory>,
    /// How many records were followed.
    followed: watch::Sender<u64>,
}

impl FollowedLog {
    pub(in crate::store::kurrentdb) fn new(
        index: Arc<SharedIndex>,
        feed: LogFeed,
        known: Arc<KnownHistory>,
    ) -> Self {
        Self { index, feed, known, followed: watch::Sender::new(0) }
    }

    /// Takes records over that come after those that are known; others are passed over. Returns how many were new.
    pub(in crate::store::kurrentdb) fn follow(&self, records: Vec<WireRecord>) -> Result<usize, ReadError> {
        let mut index = self.index.lock();
        let mut count = 0;
        let mut events = Vec::new();
        let mut is_damaged = Ok(());
        for record in records.into_iter().filter(|record| self.known.is_news(record.position)) {
            let (position, id, revision) = (record.position, record.id, record.revision);
            count += 1;
            match LogRecord::decode(record, self.index.names()) {
                Ok(record) => match index.fold(record, revision) {
                    IndexChange::Added(event) => events.push(event),
                    IndexChange::Removed => {
                        self.publish(std::mem::take(&mut events));
                        self.feed.clear();
                    }
                    IndexChange::Nothing => {}
                },
                Err(error) => {
                    self.publish(std::mem::take(&mut events));
                    // Whoever reads it is told.
                    self.feed.advance(Position::from_u64(position).max(self.feed.head()));
                    is_damaged = Err(error);
                }
            }
            self.known.reach(position, id);
        }
        self.publish(events);
        self.followed.send_modify(|followed| *followed += count as u64);
        is_damaged.map(|()| count)
    }

    /// Ends the reading at the start: the head is where the log was, also if its newest events were removed.
    pub(in crate::store::kurrentdb) fn open(&self) {
        let head = self.index.lock().head();
        self.feed.advance(head);
    }

    /// Publishes what nobody was told to read by itself.
    fn publish(&self, events: Vec<RecordedEvent>) {
        let head = self.feed.head();
        let news: Vec<RecordedEvent> = events.into_iter().filter(|event| event.position > head).collect();
        self.feed.publish(news.into());
    }

    /// Makes an event part of the log that this node does not follow at the moment: subscribers read it themselves.
    pub(in crate::store::kurrentdb) fn advance(&self, position: Position) {
        let _index = self.index.lock();
        if self.feed.head() < position {
            self.feed.advance(position);
        }
    }

    /// Waits until a stream has been followed up to a revision.
    pub(in crate::store::kurrentdb) async fn reach(
        &self,
        stream: &StreamName,
        is_reached: impl Fn(&StreamPlace) -> bool,
        patience: Duration,
    ) -> bool {
        let mut followed = self.followed.subscribe();
        let waiting = async {
            while !is_reached(&self.index.lock().place(stream)) {
                // The sender is in `self`.
                drop(followed.changed().await);
            }
        };
        timeout(patience, waiting).await.is_ok()
    }

    /// Where subscribers read.
    pub(in crate::store::kurrentdb) fn feed(&self) -> &LogFeed {
        &self.feed
    }
}
