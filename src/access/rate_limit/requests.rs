//! How many HTTP requests a client may make. A secret or bot key is counted by key, everybody else by address.

use std::net::IpAddr;

use amoiq_events::tenant::KeyKind;
use tokio::time::Instant;

use super::{RateAllowance, RateLimitKey, RateLimitSettings, RateLimiter};
use crate::access::auth::Credential;

/// Counts HTTP requests.
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
