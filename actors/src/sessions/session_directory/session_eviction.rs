//! Which sessions leave memory: those that have been idle for a while, and, when there are too many or they take too much
//! memory together, the least recently used ones.
//!
//! The next request reads an evicted session from the log again. Each shard observes its own part of the limits: sessions
//! are distributed by a hash, so the parts fill evenly. A session with a request underway stays, so a shard can exceed its
//! part by what those sessions take, each at most what one request adds.

use std::time::Duration;

use actix::dev::SendError;
use tokio::time::Instant;

use super::{DirectoryShard, RunningSession};
use crate::sessions::session_actor::PassivateSession;

/// A full shard evicts this part of its actors at once, so that evictions are rare.
const EVICTED_PART: usize = 8;

/// How long a shard waits before it searches its sessions again when too few were idle.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

impl DirectoryShard {
    /// Makes room for one more session.
    pub(super) fn make_room(&mut self) {
        let most = (self.settings.max_sessions / self.settings.arbiters.max(1)).max(EVICTED_PART);
        if self.actors.len() < most {
            return;
        }
        let idle = self.actors.values().filter(|running| running.is_idle());
        let mut used: Vec<_> = idle.map(|running| running.last_used).collect();
        // When all are busy, the limit is exceeded by at most as many sessions as the mailboxes hold requests.
        let Some(last) = used.len().checked_sub(1) else { return };
        let (_, newest_to_leave, _) = used.select_nth_unstable((most / EVICTED_PART - 1).min(last));
        let newest_to_leave = *newest_to_leave;
        self.evict(newest_to_leave);
    }

    /// Evicts the least recently used sessions when all together take more than the shard's part.
    pub(super) fn free_memory(&mut self) {
        let most = self.settings.max_memory_bytes / self.settings.arbiters.max(1);
        let held = self.counters.bytes_of(self.number);
        let now = Instant::now();
        if held <= most || now < self.looks_again {
            return;
        }
        let excess = held - most + most / EVICTED_PART;
        let idle = self.actors.values().filter(|running| running.is_idle());
        let mut idle: Vec<_> = idle.map(|running| (running.last_used, running.memory.bytes())).collect();
        idle.sort_unstable();
        let mut freed = 0;
        let enough = idle.iter().find(|(_, bytes)| {
            freed += bytes;
            freed >= excess
        });
        if enough.is_none() {
            self.looks_again = now + LOOK_AGAIN_AFTER;
        }
        if let Some((newest_to_leave, _)) = enough.or(idle.last()) {
            let newest_to_leave = *newest_to_leave;
            self.evict(newest_to_leave);
        }
    }

    fn evict(&mut self, newest_to_leave: Instant) {
        let before = self.actors.len();
        self.passivate(|running| running.last_used <= newest_to_leave);
        self.counters.count_evictions(before - self.actors.len());
    }

    /// Ends idle actors.
    pub(super) fn passivate(&mut self, mut leaves: impl FnMut(&RunningSession) -> bool) {
        self.actors.retain(|_, running| {
            let stays = !running.is_idle() || !leaves(running);
            let stays =
                stays || matches!(running.address.try_send(PassivateSession), Err(SendError::Full(_)));
            if !stays {
                running.memory.release();
            }
            stays
        });
        self.counters.set_sessions(self.number, self.actors.len());
    }
}
