//! How often all sockets of one client together may connect and send.
//!
//! Each socket has a limit of its own, and whoever opens many would get around it. So visitors' sockets are counted by
//! their address as well; those of agents and admins by user, and those with a secret or bot key by key, since an
//! office or a server has one address for many people.

use std::net::IpAddr;

use amoiq_events::tenant::KeyKind;
use tokio::time::Instant;

use super::{Chat, socket::ChatSocket};
use crate::{
    access::auth::{Credential, TokenRole},
    access::rate_limit::{Counted, RateLimiter},
    api::problem::Problem,
    http::limits::{Gate, exceeded},
};

/// What sockets did in the last minute.
#[derive(Default)]
pub struct SocketCounts {
    /// How often they asked to be let in.
    pub connects: RateLimiter,
    /// Their messages.
    pub messages: RateLimiter,
}

impl Chat {
    /// Counts a client that wants to be let in, whether its credential is good or not.
    pub(super) fn count_connect(
        &self,
        credential: Result<&Credential, &Problem>,
        client: IpAddr,
    ) -> Result<(), Problem> {
        let gate = &self.parts.gate;
        let limit = limit_of(gate, gate.limits.socket_connects_per_minute_per_ip);
        count(&gate.sockets.connects, &counted(credential.ok(), client), limit)
    }

    /// Counts a message. One that is too many is not taken.
    pub(super) fn count_message(&self, socket: &ChatSocket) -> Result<(), Problem> {
        let gate = &self.parts.gate;
        let limit = limit_of(gate, gate.limits.socket_messages_per_minute_per_ip);
        count(&gate.sockets.messages, &counted(Some(&socket.credential), socket.client), limit)
    }
}

/// Without a limit for each socket there is none for all of them.
fn limit_of(gate: &Gate, limit: u32) -> u32 {
    if gate.limits.socket_per_second == 0 { 0 } else { limit }
}

fn counted(credential: Option<&Credential>, client: IpAddr) -> Counted {
    match credential {
        Some(Credential::Key { id, kind: KeyKind::Secret | KeyKind::Bot, .. }) => Counted::Key(id.clone()),
        Some(Credential::Token(claims)) if claims.role != TokenRole::Visitor => {
            Counted::User(claims.tid.clone(), claims.sub.clone())
        }
        _ => Counted::address(client),
    }
}

fn count(counts: &RateLimiter, counted: &Counted, limit: u32) -> Result<(), Problem> {
    match counts.count(counted, limit, Instant::now()) {
        Some(allowance) if allowance.exceeded => Err(exceeded(&allowance)),
        _ => Ok(()),
    }
}
