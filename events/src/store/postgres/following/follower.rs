//! Follows the log for everybody on this node: what it appends itself and what other nodes append, in one order.
//!
//! An append of this node is published without being read again when it continues what was published. When another node's
//! events are between, these are read first, so subscribers get everything in the order of the log. An append is answered
//! after that: whoever has the answer finds the event in [`EventLog::head`](crate::EventLog::head).

use std::sync::Arc;

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    Position, RecordedEvent,
    postgres::{CallFailure, timing},
    store::{
        MAX_READ_EVENTS, ReadError,
        dense_positions::count,
        feed::LogFeed,
        postgres::{
            following::loss_watch::LossWatch, history::known_end::KnownEnd, reading::log_reads::LogReads,
            store_condition::StoreCondition, writing::log_change::LogChange,
        },
    },
};

/// The only one that publishes.
pub(in crate::store::postgres) struct LogFollower {
    pub(in crate::store::postgres) changes: mpsc::Receiver<LogChange>,
    pub(in crate::store::postgres) feed: Arc<LogFeed>,
    pub(in crate::store::postgres) reads: LogReads,
    pub(in crate::store::postgres) known: Arc<KnownEnd>,
    pub(in crate::store::postgres) condition: Arc<StoreCondition>,
    /// Another node says that it appended.
    pub(in crate::store::postgres) woken: Arc<Notify>,
    /// Tells other nodes how far the log is.
    pub(in crate::store::postgres) appended: watch::Sender<Position>,
    /// What a node does when the log turns out to be another one.
    pub(in crate::store::postgres) losses: Option<LossWatch>,
    /// How often events had been removed when this was last looked at.
    pub(in crate::store::postgres) removals: i64,
}

impl LogFollower {
    /// Follows until the appender has ended and everything that it did was told.
    pub(in crate::store::postgres) async fn run(mut self) {
        let mut polls = interval(timing::POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                change = self.changes.recv() => match change {
                    Some(change) => self.tell(change).await,
                    None => return,
                },
                () = self.woken.notified() => self.look().await,
                _ = polls.tick() => self.look().await,
            }
        }
    }

    async fn tell(&mut self, change: LogChange) {
        match change {
            LogChange::Appended(group) => {
                if let Some(last) = group.events.last() {
                    self.publish_own(&group.events).await;
                    self.appended.send_replace(last.position);
                }
                let ends = group.appends.iter().filter_map(|append| append.answer.as_ref().ok());
                if let Some(end) = ends.map(|receipt| receipt.position).max() {
                    // A repeat of what another node appended.
                    self.reach(end).await;
                }
                for append in group.appends {
                    // Whoever asked may have gone.
                    drop(append.reply.send(append.answer));
                }
            }
            LogChange::Removed(reply) => {
                self.feed.clear();
                drop(reply.send(Ok(())));
            }
        }
    }

    /// Publishes neighbouring events that this node appended.
    async fn publish_own(&mut self, events: &Arc<[RecordedEvent]>) {
        let Some(first) = events.first() else { return };
        if count(self.feed.head(), first.position) > 1 {
            let before = Position::from_u64(first.position.as_u64() - 1);
            self.reach(before).await;
        }
        if count(self.feed.head(), first.position) == 1 {
            self.publish(Arc::clone(events));
        }
    }

    /// Publishes everything up to a position that is known to be in the log.
    async fn reach(&mut self, end: Position) {
        if self.feed.head() < end {
            let reading = timeout(timing::FOLLOW, self.read_up_to(end)).await;
            if !matches!(reading, Ok(Ok(()))) {
                // Subscribers read what is missing themselves.
                self.feed.advance(end.max(self.feed.head()));
                self.known.reach(end, None);
            }
        }
    }

    /// Looks for what other nodes changed.
    async fn look(&mut self) {
        let looked = timeout(timing::FOLLOW, self.find_changes()).await;
        let looked = looked.unwrap_or_else(|_late| Err(CallFailure::silent()));
        self.condition.followed(looked.as_ref().err().map(ToString::to_string));
        if let (Err(CallFailure::OtherHistory(_)), Some(losses)) = (looked, &self.losses) {
            losses.settle(&self.feed).await;
        }
    }

    async fn find_changes(&mut self) -> Result<(), CallFailure> {
        let state = self.reads.state(self.known.values()).await?;
        let read = self.read_up_to(state.head).await;
        read.map_err(|error| CallFailure::Postponed(error.to_string()))?;
        if state.removals != self.removals {
            self.removals = state.removals;
            self.feed.clear();
        }
        Ok(())
    }

    async fn read_up_to(&mut self, end: Position) -> Result<(), ReadError> {
        while self.feed.head() < end {
            let page = self.reads.page(self.feed.head(), MAX_READ_EVENTS).await?;
            if page.is_empty() {
                // What is up to there was removed.
                self.feed.advance(end);
                self.known.reach(end, None);
            } else {
                self.publish(page.into());
            }
        }
        Ok(())
    }

    fn publish(&self, events: Arc<[RecordedEvent]>) {
        let last = events.last().map(|last| (last.position, last.event.id));
        self.feed.publish(events);
        if let Some((position, id)) = last {
            self.known.reach(position, Some(id));
        }
    }
}
