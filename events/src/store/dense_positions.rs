//! Calculates with positions. Only a backend may whose positions count events without a gap, including removed ones.

use std::ops::Bound;

use crate::Position;

/// The newest position within a bound: every number up to the head is a position.
pub(super) fn within(bound: Bound<Position>, head: Position) -> Position {
    match bound {
        Bound::Included(end) => end.min(head),
        Bound::Excluded(end) => Position::from_u64(end.as_u64().saturating_sub(1)).min(head),
        Bound::Unbounded => head,
    }
}

/// How many positions there are after one, up to the head.
pub(super) fn count(after: Position, head: Position) -> u64 {
    head.as_u64().saturating_sub(after.as_u64())
}
