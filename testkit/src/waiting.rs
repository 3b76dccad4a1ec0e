//! Waiting for a condition. There is always a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asking again at once would take the processor from what the test waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until a condition holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}
