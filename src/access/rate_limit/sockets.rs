//! How often all sockets of one client together may connect and send.
//!
//! Each socket has a limit of its own, which a client with many sockets would get around. So visitors' sockets are
//! also counted by address; those of agents and admins by user, and those with a secret or bot key by key, because an
//! office or a server has one address for many people.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use amoiq_events::tenant::KeyKind;
use tokio::time::Instant;

use super::{RateLimitKey, RateLimitSettings, RateLimiter};
use crate::{
    access::auth::{Credential, TokenRole},
    api::problem::Problem,
};

/// Counts the connections and messages of sockets.
pub struct SocketLimiter {
    connects: RateLimiter,
    messages: RateLimiter,
    connect_limit: u32,
    message_limit: u32,
    /// Messages that were too many for their socket alone; the sockets count those themselves.
    refused_by_sockets: AtomicU64,
}

impl SocketLimiter {
    /// A limiter that counted nothing yet. Without a limit for each socket there is none for all of them.
    #[must_use]
    pub fn new(settings: &RateLimitSettings) -> Self {
        let limit = |limit| if settings.socket_per_second == 0 { 0 } else { limit };
        Self {
            connects: RateLimiter::new(),
            messages: RateLimiter::new(),
            connect_limit: limit(settings.socket_connects_per_minute_per_ip),
            message_limit: limit(settings.socket_messages_per_minute_per_ip),
            refused_by_sockets: AtomicU64::new(0),
        }
    }

    /// Counts a client that wants to connect, whether its credential is good or not.
    ///
    /// # Errors
    /// [`Problem::RateLimited`].
    pub fn count_connect(&self, credential: Option<&Credential>, client: IpAddr) -> Result<(), Problem> {
        count(&self.connects, &key(credential, client), self.connect_limit)
    }

    /// Counts a message. One that is too many is not taken.
    ///
    /// # Errors
    /// [`Problem::RateLimited`].
    pub fn count_message(&self, credential: &Credential, client: IpAddr) -> Result<(), Problem> {
        count(&self.messages, &key(Some(credential), client), self.message_limit)
    }

    /// Notes that a socket refused a message by its own limit.
    pub fn note_refused_by_socket(&self) {
        self.refused_by_sockets.fetch_add(1, Relaxed);
    }

    /// How many messages sockets refused by their own limits.
    #[must_use]
    pub fn refused_by_sockets(&self) -> u64 {
        self.refused_by_sockets.load(Relaxed)
    }

    /// How many connections were refused.
    #[must_use]
    pub fn refused_connects(&self) -> u64 {
        self.connects.refused()
    }

    /// How many messages were refused by the limit for all sockets of a client.
    #[must_use]
    pub fn refused_messages(&self) -> u64 {
        self.messages.refused()
    }
}

fn key(credential: Option<&Credential>, client: IpAddr) -> RateLimitKey {
    match credential {
        Some(Credential::Key { id, kind: KeyKind::Secret | KeyKind::Bot, .. }) => {
            RateLimitKey::Key(id.clone())
        }
        Some(Credential::Token(claims)) if claims.role != TokenRole::Visitor => {
            RateLimitKey::User(claims.tid.clone(), claims.sub.clone())
        }
        _ => RateLimitKey::address(client),
    }
}

fn count(counts: &RateLimiter, key: &RateLimitKey, limit: u32) -> Result<(), Problem> {
    counts.count(key, limit, Instant::now()).map_or(Ok(()), |allowance| allowance.check())
}
