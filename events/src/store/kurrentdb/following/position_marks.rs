//! Where events are, without their content: enough to count events after a position, and to find a time.
//!
//! The places of the newest events are kept one by one, and of the others every 256th. So what is asked of a reader that is
//! far behind is right to 256 events.

use std::collections::VecDeque;

use crate::{Position, Timestamp};

/// Of how many events the places are kept one by one.
const RECENT: usize = 65_536;

/// Of the others, one in so many.
const STEP: usize = 256;

/// An event that is remembered for those before it.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::kurrentdb) struct PositionMark {
    pub(in crate::store::kurrentdb) position: Position,
    /// The latest time of any event up to it.
    pub(in crate::store::kurrentdb) latest: Timestamp,
}

/// The places of all events that the log ever had.
#[derive(Debug, Default)]
pub(in crate::store::kurrentdb) struct PositionMarks {
    /// The places of the 256th event, the 512th, …
    marks: Vec<PositionMark>,
    recent: VecDeque<Position>,
    count: usize,
    latest: Timestamp,
}

impl PositionMarks {
    /// Notes the newest event.
    pub(in crate::store::kurrentdb) fn push(&mut self, position: Position, time: Timestamp) {
        self.count += 1;
        self.latest = if self.count == 1 { time } else { self.latest.max(time) };
        if self.count.is_multiple_of(STEP) {
            self.marks.push(PositionMark { position, latest: self.latest });
        }
        self.recent.push_back(position);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// How many events there are after a position, including those that were removed.
    pub(in crate::store::kurrentdb) fn count_after(&self, position: Position) -> u64 {
        let passed = match self.recent.front() {
            Some(first) if position >= *first => {
                self.count - self.recent.len() + self.recent.partition_point(|known| *known <= position)
            }
            _ => STEP * self.marks.partition_point(|mark| mark.position <= position),
        };
        self.count.saturating_sub(passed) as u64
    }

    /// The newest event at or before a position, if it is one of those that are known one by one.
    pub(in crate::store::kurrentdb) fn recent_until(&self, position: Position) -> Option<Position> {
        let next = self.recent.partition_point(|known| *known <= position);
        let is_whole = self.recent.len() == self.count;
        match next.checked_sub(1) {
            Some(last) => self.recent.get(last).copied(),
            None => is_whole.then_some(Position::START),
        }
    }

    /// A position from which reading forward soon comes to another one, and is before it or at it.
    pub(in crate::store::kurrentdb) fn before(&self, position: Position) -> Position {
        let next = self.marks.partition_point(|mark| mark.position <= position);
        next.checked_sub(1)
            .and_then(|last| self.marks.get(last))
            .map_or(Position::START, |mark| mark.position)
    }

    /// The stretches of the log, each from after a position on up to another one, that may have the last event before a time
    /// of any clock: first the newest. Nothing after them is before the time.
    pub(in crate::store::kurrentdb) fn stretches_before(
        &self,
        time: Timestamp,
        jitter_ms: i64,
    ) -> Vec<(Position, Position)> {
        let certain = time.plus_millis(jitter_ms);
        let end = self.marks.partition_point(|mark| mark.latest < certain);
        let place = |number: usize| {
            let mark = number.checked_sub(1).and_then(|before| self.marks.get(before));
            mark.map_or(Position::START, |mark| mark.position)
        };
        let upto = |number: usize| self.marks.get(number).map_or(Position::END, |mark| mark.position);
        (0..=end).rev().map(|number| (place(number), upto(number))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_to_a_step() {
        let mut marks = PositionMarks::default();
        let position = |number: usize| Position::from_u64(number as u64 * 100);
        let total = RECENT + 10_000;
        (1..=total).for_each(|number| marks.push(position(number), Timestamp::default()));
        for number in [0, 1, 255, 256, 5_000, 9_999, 10_001, 20_000, total - 1, total] {
            let counted = usize::try_from(marks.count_after(position(number))).unwrap();
            let behind = total - number;
            let slack = if number > 10_000 { 0 } else { STEP };
            assert!((behind..=behind + slack).contains(&counted), "{number}: {counted}");
        }
        assert_eq!(marks.recent_until(position(total)), Some(position(total)));
        assert_eq!(marks.recent_until(position(20_000)), Some(position(20_000)));
        assert_eq!(marks.recent_until(position(3)), None);
        assert_eq!(marks.before(position(300)), position(256));
    }
}
