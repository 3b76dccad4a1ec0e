//! How often a caller may do something: fixed windows of a minute, with one count for each address, key or user.
//!
//! The first request opens a window; after its end the next request opens another. The table is bounded: when it is full
//! of open windows, those that end first are dropped, so an attacker with many addresses costs memory up to the bound
//! and no more. The monotonic clock measures a window, so a step of the wall clock makes none longer or shorter.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use amoiq_connections::client_network;
use amoiq_events::{KeyId, TenantId, UserId, tenant::KeyKind};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use crate::{access::auth::Credential, api::problem::Problem};

pub mod sockets;

pub use sockets::SocketLimiter;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);

/// The table is split so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// The most windows of one shard; about 100 bytes each.
const SHARD_WINDOWS: usize = 8_192;

/// When a shard is full, this part of its windows makes room at once, so that it is rare.
const EVICTED_PART: usize = 8;

/// A section of `config.toml`: `RateLimit`. A limit of 0 is none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.toml documents every key")]
pub struct RateLimitSettings {
    pub http_per_minute: u32,
    pub secret_key_per_minute: u32,
    pub session_misses_per_minute: u32,
    pub socket_per_second: u32,
    pub socket_messages_per_minute_per_ip: u32,
    pub socket_connects_per_minute_per_ip: u32,
}

/// The one whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// A client's address; IPv6 by its /64, since one client has all of it.
    Address(IpAddr),
    /// A secret or bot key, wherever it is used.
    Key(KeyId),
    /// An agent or admin with a token, wherever they are.
    User(TenantId, UserId),
}

impl RateLimitKey {
    /// Counts an address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(client_network(address))
    }
}

/// How many requests are left after one was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateAllowance {
    /// Requests in a window.
    pub limit: u32,
    /// Requests left in this one.
    pub remaining: u32,
    /// How long this window still runs.
    pub resets_in: Duration,
    /// Whether this request is one too many.
    pub exceeded: bool,
}

impl RateAllowance {
    /// Refuses the request that was one too many.
    ///
    /// # Errors
    /// [`Problem::RateLimited`].
    pub fn check(&self) -> Result<(), Problem> {
        if !self.exceeded {
            return Ok(());
        }
        let retry_after_ms = u64::try_from(self.resets_in.as_millis()).unwrap_or(u64::MAX);
        Err(Problem::RateLimited { retry_after_ms })
    }
}

/// Counts requests, by the minute.
pub struct RateLimiter {
    shards: [Mutex<HashMap<RateLimitKey, RateWindow>>; SHARDS],
    hasher: RandomState,
    refused: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct RateWindow {
    ends: Instant,
    count: u32,
}

impl RateLimiter {
    /// A limiter that has counted nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts a request. A limit of 0 is none: nothing is counted then.
    #[must_use]
    pub fn count(&self, counted: &RateLimitKey, limit: u32, now: Instant) -> Option<RateAllowance> {
        let allowance =
            self.with(counted, limit, now, |window| window.count = window.count.saturating_add(1))?;
        Some(self.noted(allowance))
    }

    /// How many requests it refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn noted(&self, allowance: RateAllowance) -> RateAllowance {
        if allowance.exceeded {
            self.refused.fetch_add(1, Relaxed);
        }
        allowance
    }

    /// Tells without counting whether one more would be too many.
    #[must_use]
    pub fn peek(&self, counted: &RateLimitKey, limit: u32, now: Instant) -> Option<RateAllowance> {
        let allowance = self.with(counted, limit, now, |_| {})?;
        Some(self.noted(RateAllowance { exceeded: allowance.remaining == 0, ..allowance }))
    }

    fn with(
        &self,
        counted: &RateLimitKey,
        limit: u32,
        now: Instant,
        change: impl FnOnce(&mut RateWindow),
    ) -> Option<RateAllowance> {
        if limit == 0 {
            return None;
        }
        let number = usize::try_from(self.hasher.hash_one(counted) % SHARDS as u64).unwrap_or_default();
        let mut windows = self.shards.get(number)?.lock();
        if !windows.contains_key(counted) {
            make_room(&mut windows, now);
        }
        let fresh = RateWindow { ends: now + WINDOW, count: 0 };
        let window = windows.entry(counted.clone()).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        change(window);
        Some(RateAllowance {
            limit,
            remaining: limit.saturating_sub(window.count),
            resets_in: window.ends.saturating_duration_since(now),
            exceeded: window.count > limit,
        })
    }
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts HTTP requests: a secret or bot key by key, everybody else by address.
pub struct RequestLimiter {
    counts: RateLimiter,
    address_limit: u32,
    key_limit: u32,
}

impl RequestLimiter {
    /// A limiter that counted nothing yet.
    #[must_use]
    pub fn new(settings: &RateLimitSettings) -> Self {
        Self {
            counts: RateLimiter::new(),
            address_limit: settings.http_per_minute,
            key_limit: settings.secret_key_per_minute,
        }
    }

    /// Counts a request; nothing where there is no limit.
    #[must_use]
    pub fn count(&self, credential: Option<&Credential>, client: IpAddr) -> Option<RateAllowance> {
        let (key, limit) = match credential {
            Some(Credential::Key { id, kind: KeyKind::Secret | KeyKind::Bot, .. }) => {
                (RateLimitKey::Key(id.clone()), self.key_limit)
            }
            _ => (RateLimitKey::address(client), self.address_limit),
        };
        self.counts.count(&key, limit, Instant::now())
    }

    /// How many requests were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counts.refused()
    }
}

fn make_room(windows: &mut HashMap<RateLimitKey, RateWindow>, now: Instant) {
    if windows.len() < SHARD_WINDOWS {
        return;
    }
    windows.retain(|_, window| window.ends > now);
    if windows.len() < SHARD_WINDOWS {
        return;
    }
    let mut ends: Vec<_> = windows.values().map(|window| window.ends).collect();
    let (_, last_to_leave, _) = ends.select_nth_unstable(SHARD_WINDOWS / EVICTED_PART);
    windows.retain(|_, window| window.ends > *last_to_leave);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> RateLimitKey {
        RateLimitKey::address(text.parse().unwrap())
    }

    #[test]
    fn the_request_after_the_limit_is_one_too_many_until_the_window_ends() {
        let limiter = RateLimiter::new();
        let start = Instant::now();
        let later = |millis| start + Duration::from_millis(millis);
        let count = |now| limiter.count(&address("10.0.0.1"), 3, now).unwrap();
        assert_eq!([0, 1, 2].map(|millis| count(later(millis)).remaining), [2, 1, 0]);
        let last = count(later(59_999));
        assert_eq!((last.exceeded, last.resets_in), (true, Duration::from_millis(1)));
        let next = count(later(60_000));
        assert_eq!((next.remaining, next.exceeded, next.resets_in), (2, false, WINDOW));
    }

    #[test]
    fn ipv6_counts_by_its_network_and_mapped_ipv4_as_ipv4() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn no_limit_counts_nothing() {
        assert_eq!(RateLimiter::new().count(&address("10.0.0.1"), 0, Instant::now()), None);
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_windows_make_room() {
        let (limiter, start) = (RateLimiter::new(), Instant::now());
        for number in 0..300_000_u32 {
            let client = RateLimitKey::address(IpAddr::V4(number.into()));
            let now = start + Duration::from_millis(u64::from(number / 1_000));
            assert!(limiter.count(&client, 3, now).is_some());
        }
        let windows: usize = limiter.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(windows <= SHARDS * SHARD_WINDOWS, "{windows}");
    }
}
