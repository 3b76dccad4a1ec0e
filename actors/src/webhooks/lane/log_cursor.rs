//! Where a lane is in the log, and what it finds there again: its own way through the log, the replay that runs, and
//! the deliveries that `outbox.db` held after the cursor when the lane started.

use std::collections::{BTreeMap, BTreeSet};

use amoiq_events::{MessageId, Position, Timestamp};

use crate::webhooks::delivery::{Delivery, LaneProgress, ReplayProgress};

/// A read of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadSpan {
    /// It starts after this position.
    pub(super) after: Position,
    /// When it started, the log was known to reach at least to here. What becomes known later says nothing about what
    /// the read returned.
    pub(super) known: Position,
}

/// Where a lane is in the log.
#[derive(Debug)]
pub(super) struct LogCursor {
    /// The lane has taken everything up to here.
    read: Position,
    /// The log reaches at least to here.
    known: Position,
    /// The replay that runs, or the last one. Its saved cursor follows from the backlog.
    replay: Option<ReplayProgress>,
    /// The replay has taken everything up to here.
    replay_read: Position,
    /// What `outbox.db` held after the cursor at the start: settled (`None`), or waiting. A waiting delivery joins the
    /// backlog when the lane reads past it, because messages before it in its session may be in the log alone.
    recovered: BTreeMap<Position, Option<Delivery>>,
}

impl LogCursor {
    /// Starts from what was saved.
    pub(super) fn new(progress: &LaneProgress, settled: BTreeSet<Position>, known: Position) -> Self {
        Self {
            read: progress.cursor,
            known,
            replay: progress.replay,
            replay_read: progress.replay.map(|replay| replay.cursor).unwrap_or_default(),
            recovered: settled.into_iter().map(|position| (position, None)).collect(),
        }
    }

    pub(super) fn read(&self) -> Position {
        self.read
    }

    pub(super) fn known(&self) -> Position {
        self.known
    }

    pub(super) fn replay(&self) -> Option<ReplayProgress> {
        self.replay
    }

    pub(super) fn replay_read(&self) -> Position {
        self.replay_read
    }

    /// Whether a replay is being read.
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some_and(|replay| !replay.is_cancelled && self.replay_read < replay.until)
    }

    /// The log reaches at least to here.
    pub(super) fn observe(&mut self, position: Position) {
        self.known = self.known.max(position);
    }

    /// Everything up to here was taken.
    pub(super) fn advance(&mut self, position: Position) {
        self.read = position;
    }

    /// The read that is wanted next, if the lane is behind.
    pub(super) fn next_read(&self) -> Option<ReadSpan> {
        let known = self.known.max(self.read);
        if self.is_replaying() {
            Some(ReadSpan { after: self.replay_read, known })
        } else {
            (self.read < self.known).then_some(ReadSpan { after: self.read, known })
        }
    }

    /// Whether a read is still the wanted one: a replay may have started or ended meanwhile.
    pub(super) fn wants(&self, span: ReadSpan) -> bool {
        span.after == if self.is_replaying() { self.replay_read } else { self.read }
    }

    /// Starts a replay of what is after one position, up to another or to where the lane is.
    pub(super) fn start_replay(&mut self, after: Position, until: Option<Position>) {
        let until = until.map_or(self.read, |until| until.min(self.read));
        let after = after.min(until);
        self.replay = Some(ReplayProgress { after, until, cursor: after, begun: 0, is_cancelled: false });
        self.replay_read = after;
    }

    /// Cancels the replay. Returns whether one was running.
    pub(super) fn cancel_replay(&mut self) -> bool {
        let running = self.replay.as_mut().filter(|replay| !replay.is_over());
        running.map(|replay| replay.is_cancelled = true).is_some()
    }

    /// The replay has taken everything up to here.
    pub(super) fn advance_replay(&mut self, position: Position) {
        self.replay_read = position;
    }

    /// The replay has added a delivery.
    pub(super) fn count_replayed(&mut self) {
        self.replay.iter_mut().for_each(|replay| replay.begun += 1);
    }

    /// The saved cursor of the replay is `written` now; `read` is how far it could be. The write may have been of the
    /// replay before this one.
    pub(super) fn replay_written(&mut self, written: ReplayProgress, read: Position) {
        if let Some(replay) = &mut self.replay {
            replay.cursor = written.cursor.min(read).max(replay.after);
        }
    }

    /// How far the cursors had passed when the lane started: a stored delivery up to here joins the backlog at once.
    pub(super) fn passed_at_start(&self) -> Position {
        let replay = self.replay.filter(|replay| !replay.is_over());
        replay.map_or(self.read, |replay| replay.cursor.min(self.read))
    }

    /// Keeps a stored delivery until the lane reads past it.
    pub(super) fn keep_recovered(&mut self, delivery: Delivery) {
        self.recovered.insert(delivery.position, Some(delivery));
    }

    /// Removes the recovered deliveries up to a position; returns those that wait.
    pub(super) fn take_recovered(&mut self, upto: Position) -> Vec<Delivery> {
        let mut waiting = Vec::new();
        while let Some(first) = self.recovered.first_entry().filter(|first| *first.key() <= upto) {
            waiting.extend(first.remove());
        }
        waiting
    }

    /// Whether `outbox.db` held a delivery here that the lane has not read past yet.
    pub(super) fn is_recovered(&self, position: Position) -> bool {
        self.recovered.contains_key(&position)
    }

    /// The recovered deliveries that wait.
    pub(super) fn recovered(&self) -> impl Iterator<Item = &Delivery> {
        self.recovered.values().flatten()
    }

    /// A recovered delivery is attempted from the start of its schedule as soon as the lane reads past it.
    pub(super) fn restart_recovered(&mut self, position: Position, now: Timestamp) -> Option<Delivery> {
        let waiting = self.recovered.get_mut(&position)?.as_mut()?;
        (waiting.tries, waiting.next_at) = (0, Some(now));
        Some(waiting.clone())
    }

    /// Makes every recovered delivery due as soon as the lane reads past it.
    pub(super) fn make_recovered_due(&mut self, now: Timestamp) {
        self.recovered.values_mut().flatten().for_each(|delivery| delivery.next_at = Some(now));
    }

    /// Settles a recovered delivery that waits.
    pub(super) fn settle_recovered(&mut self, position: Position) -> Option<Delivery> {
        self.recovered.get_mut(&position).and_then(Option::take)
    }

    /// The position of the recovered delivery of a message.
    pub(super) fn recovered_position(&self, message: MessageId) -> Option<Position> {
        self.recovered().find(|delivery| delivery.message_id == message).map(|delivery| delivery.position)
    }

    /// Removes the recovered deliveries that match.
    pub(super) fn discard_recovered(&mut self, matches: impl Fn(&Delivery) -> bool) {
        self.recovered.retain(|_, delivery| !delivery.as_ref().is_some_and(&matches));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Position {
        Position::from_u64(position)
    }

    /// A lane that has delivered everything up to 10, in a log that reaches to 20.
    fn given() -> LogCursor {
        let progress = LaneProgress { cursor: at(10), ..LaneProgress::default() };
        LogCursor::new(&progress, BTreeSet::new(), at(20))
    }

    #[test]
    fn a_lane_that_is_behind_reads_after_its_cursor_until_it_has_caught_up() {
        let mut cursor = given();
        assert_eq!(cursor.next_read(), Some(ReadSpan { after: at(10), known: at(20) }));
        cursor.advance(at(20));
        assert_eq!(cursor.next_read(), None);
        cursor.observe(at(21));
        assert_eq!(cursor.next_read(), Some(ReadSpan { after: at(20), known: at(21) }));
    }

    #[test]
    fn a_replay_is_read_first_and_ends_where_the_lane_is() {
        let mut cursor = given();
        cursor.start_replay(at(3), Some(at(99)));
        assert!(cursor.is_replaying());
        assert_eq!(cursor.next_read(), Some(ReadSpan { after: at(3), known: at(20) }));
        cursor.advance_replay(at(10));
        assert!(!cursor.is_replaying());
        assert_eq!(cursor.next_read(), Some(ReadSpan { after: at(10), known: at(20) }));
    }

    #[test]
    fn a_read_is_not_wanted_any_more_when_a_replay_started_or_ended_meanwhile() {
        let mut cursor = given();
        let live = cursor.next_read().unwrap();
        cursor.start_replay(at(3), None);
        assert!(!cursor.wants(live));
        let replay = cursor.next_read().unwrap();
        assert!(cursor.wants(replay) && cursor.cancel_replay());
        assert!(!cursor.wants(replay) && cursor.wants(live));
        assert!(!cursor.cancel_replay(), "it is cancelled already");
    }

    #[test]
    fn a_write_of_the_replay_before_does_not_move_the_cursor_of_this_one_back() {
        let mut cursor = given();
        cursor.start_replay(at(3), None);
        let written = cursor.replay().unwrap();
        cursor.cancel_replay();
        cursor.start_replay(at(7), None);
        cursor.replay_written(written, at(9));
        assert_eq!(cursor.replay().unwrap().cursor, at(7));
    }
}
