//! Where positions of one log are in its copy. What is stored beside a log refers to its events by position.

use crate::Position;

/// Where a position is in the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedPosition {
    /// Of the same event, or of the newest one before it.
    pub position: Position,
    /// Whether the event itself is in the log.
    pub is_event: bool,
}

/// Maps the positions that are asked for. Memory grows with them, unless the copy has the same positions as the log.
#[derive(Debug, Default)]
pub struct PositionMap {
    /// In order.
    wanted: Vec<Position>,
    found: Vec<MappedPosition>,
    newest: Position,
    is_renumbered: bool,
}

impl PositionMap {
    /// Positions to look for.
    #[must_use]
    pub fn new(mut wanted: Vec<Position>) -> Self {
        wanted.sort_unstable();
        wanted.dedup();
        Self { wanted, ..Self::default() }
    }

    /// Takes note of the two positions of the next event.
    pub fn observe(&mut self, position: Position, copy: Position) {
        self.is_renumbered |= position != copy;
        while let Some(wanted) = self.wanted.get(self.found.len()).filter(|wanted| **wanted <= position) {
            let is_event = *wanted == position;
            let found = if is_event { copy } else { self.newest };
            self.found.push(MappedPosition { position: found, is_event });
        }
        self.newest = copy;
    }

    /// Whether any event has another position in the copy.
    #[must_use]
    pub fn is_renumbered(&self) -> bool {
        self.is_renumbered
    }

    /// Where a position is that was asked for. Without renumbering each is where it was, whether its event is there or not.
    #[must_use]
    pub fn find(&self, position: Position) -> MappedPosition {
        if !self.is_renumbered {
            return MappedPosition { position, is_event: true };
        }
        let after_all = MappedPosition { position: self.newest, is_event: false };
        let number = self.wanted.binary_search(&position).ok();
        number.and_then(|number| self.found.get(number)).copied().unwrap_or(after_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Position {
        Position::from_u64(position)
    }

    #[test]
    fn a_position_is_that_of_its_event_or_of_the_one_before() {
        let mut map = PositionMap::new([7, 0, 3, 4, 9, 3].map(at).to_vec());
        for (position, copy) in [(1, 100), (3, 230), (7, 310)] {
            map.observe(at(position), at(copy));
        }
        let found = [0, 3, 4, 7, 9].map(|position| map.find(at(position)));
        let positions = found.map(|found| (found.position.as_u64(), found.is_event));
        assert_eq!(positions, [(0, false), (230, true), (230, false), (310, true), (310, false)]);
    }

    #[test]
    fn without_renumbering_every_position_stays() {
        let mut map = PositionMap::new(vec![at(2)]);
        map.observe(at(1), at(1));
        map.observe(at(5), at(5));
        assert!(!map.is_renumbered());
        assert_eq!(map.find(at(2)), MappedPosition { position: at(2), is_event: true });
    }
}
