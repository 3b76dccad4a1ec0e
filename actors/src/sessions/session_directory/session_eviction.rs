//! Which sessions leave memory: those that nobody used for a while, and, when there are too many or they hold too
//! much together, the ones that were used longest ago.
//!
//! A session that leaves is read from the log again when somebody asks for it. Each shard keeps to its own part of
//! what all may hold: sessions are spread by a hash, so the parts fill evenly. A session with a request underway
//! stays, so a shard can be over its part by what those hold, each of them at most one request's worth.

use std::time::Duration;

use actix::dev::SendError;
use tokio::time::Instant;

use super::{DirectoryShard, RunningSession};
use crate::sessions::session_actor::PassivateSession;

/// When a shard is full, this part of its actors is passivated at once, so that it is rare.
const EVICTED_PART: usize = 8;

/// How long a shard waits before it looks through its sessions again when those that are idle did not suffice.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

impl DirectoryShard {
    /// Makes room for one more session.
    pub(super) fn make_room(&mut self) {
        let most = (self.settings.max_sessions / self.settings.arbiters.max(1)).max(EVICTED_PART);
        if self.actors.len() < most {
            return;
        }
        let idle = self.actors.values().filter(|resident| resident.is_idle());
        let mut used: Vec<_> = idle.map(|resident| resident.last_used).collect();
        // Where all are busy there are more than the most, by as many as the mailboxes hold.
        let Some(last) = used.len().checked_sub(1) else { return };
        let (_, newest_to_leave, _) = used.select_nth_unstable((most / EVICTED_PART - 1).min(last));
        let newest_to_leave = *newest_to_leave;
        self.evict(newest_to_leave);
    }

    /// Lets the sessions go that were used longest ago when all together hold more than the shard's part.
    pub(super) fn free_memory(&mut self) {
        let most = self.settings.max_memory_bytes / self.settings.arbiters.max(1);
        let held = self.counters.bytes_of(self.number);
        let now = Instant::now();
        if held <= most || now < self.looks_again {
            return;
        }
        let excess = held - most + most / EVICTED_PART;
        let idle = self.actors.values().filter(|resident| resident.is_idle());
        let mut idle: Vec<_> = idle.map(|resident| (resident.last_used, resident.memory.bytes())).collect();
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
        self.passivate(|resident| resident.last_used <= newest_to_leave);
        self.counters.evict(before - self.actors.len());
    }

    /// Ends idle actors.
    pub(super) fn passivate(&mut self, mut leaves: impl FnMut(&RunningSession) -> bool) {
        self.actors.retain(|_, resident| {
            let stays = !resident.is_idle() || !leaves(resident);
            let stays =
                stays || matches!(resident.address.try_send(PassivateSession), Err(SendError::Full(_)));
            if !stays {
                resident.memory.leave();
            }
            stays
        });
        self.counters.holds(self.number, self.actors.len());
    }
}
