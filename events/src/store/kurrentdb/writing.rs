//! Appending and removing.

pub(super) mod appends;
pub(super) mod removals;
pub(super) mod scavenging;
pub(super) mod stream_turns;
pub(super) mod stream_writes;
