//! The date of a run, which somebody sets.

use std::sync::atomic::{AtomicI64, Ordering};

use amoiq_events::{Timestamp, ambient::Clock};
use tokio::time::Instant;

/// The clock that jumps, as the world's time. Somebody sets it now and then.
pub(super) struct WallClock {
    pub(super) start: Instant,
    pub(super) set_by_ms: AtomicI64,
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from(self.start.elapsed().as_millis()).expect("a short run");
        Timestamp::from_millis(1_705_314_600_000 + since + self.set_by_ms.load(Ordering::SeqCst))
    }
}
