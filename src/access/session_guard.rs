//! Opens sessions: the one check for everything that a session's id gives access to, which is reading the history,
//! minting an anonymous token, joining by socket and binding a socket to the session.

use std::{net::IpAddr, sync::Arc};

use amoiq_actors::{
    inbox::InboxView,
    sessions::{SessionAccess, SessionDirectory},
};
use amoiq_events::{ConversationId, EventLog, SessionId, session::SessionCaller};
use tokio::time::Instant;

use super::{
    auth::{CallerRole, Principal},
    rate_limit::{RateLimitKey, RateLimitSettings, RateLimiter},
};
use crate::api::problem::Problem;

/// The shortest session id that a public credential may use: shorter ones can be guessed.
pub const CAPABILITY_BYTES: usize = 16;

/// The answer about a session that a verified user has used.
pub const NOT_YOURS: Problem = Problem::Forbidden("the session belongs to a verified user");

const TOO_SHORT: Problem = Problem::Forbidden("a session id that opens a session has at least 16 characters");

/// Decides who may open which session.
pub struct SessionGuard {
    directory: SessionDirectory,
    inbox: InboxView,
    log: Arc<dyn EventLog>,
    misses: MissLimiter,
    /// `security.widget_key_reads_history`
    widget_key_reads_history: bool,
}

impl SessionGuard {
    /// A guard over the sessions of a directory. Guesses are limited unless requests are not.
    #[must_use]
    pub fn new(
        directory: SessionDirectory,
        (inbox, log): (InboxView, Arc<dyn EventLog>),
        settings: &RateLimitSettings,
        widget_key_reads_history: bool,
    ) -> Self {
        Self { directory, inbox, log, misses: MissLimiter::new(settings), widget_key_reads_history }
    }

    /// The session of a conversation. Whoever has its id may look for it, and is then checked like whoever names the session.
    ///
    /// # Errors
    /// [`Problem::SessionNotFound`]; [`Problem::RateLimited`] for whoever guessed too often; when the inbox is behind.
    pub async fn session_of(
        &self,
        principal: &Principal,
        client: IpAddr,
        conversation: ConversationId,
    ) -> Result<SessionId, Problem> {
        if is_guess(principal) {
            self.misses.check(client)?;
        }
        let (tenant, head) = (principal.tenant_id.clone(), self.log.current_head().await?);
        let found = self.inbox.session_of_conversation(tenant, conversation, head).await?;
        found.ok_or_else(|| {
            if is_guess(principal) {
                self.misses.count(client);
            }
            Problem::SessionNotFound
        })
    }

    /// Checks a caller before the session is looked up: it refuses an id that can be guessed, and whoever guessed
    /// too often.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] or [`Problem::RateLimited`].
    pub fn check_attempt(
        &self,
        principal: &Principal,
        client: IpAddr,
        session: &SessionId,
    ) -> Result<(), Problem> {
        if !is_guess(principal) {
            return Ok(());
        }
        if session.as_str().len() < CAPABILITY_BYTES {
            return Err(TOO_SHORT);
        }
        self.misses.check(client)
    }

    /// Checks a caller once the session's actor has answered.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] when the session stays closed to the caller, [`Problem::SessionNotFound`]
    /// for staff.
    pub fn check_access(
        &self,
        principal: &Principal,
        client: IpAddr,
        access: SessionAccess,
    ) -> Result<(), Problem> {
        match (access, &principal.role) {
            (SessionAccess::Denied, _) => Err(NOT_YOURS),
            (SessionAccess::Missing, CallerRole::Staff { .. } | CallerRole::Bot) => {
                Err(Problem::SessionNotFound)
            }
            (SessionAccess::Missing, _) => {
                if is_guess(principal) {
                    self.misses.count(client);
                }
                Ok(())
            }
            (SessionAccess::Granted, CallerRole::WidgetKey) if !self.widget_key_reads_history => {
                Err(Problem::Forbidden("a session that exists is opened by its token"))
            }
            (SessionAccess::Granted, _) => Ok(()),
        }
    }

    /// Opens a session: both checks, for a request that does not read the session itself.
    ///
    /// # Errors
    /// As [`Self::check_attempt`] and [`Self::check_access`], and when the session cannot be read.
    pub async fn open(
        &self,
        principal: &Principal,
        client: IpAddr,
        session: &SessionId,
    ) -> Result<SessionAccess, Problem> {
        self.check_attempt(principal, client, session)?;
        let (access, _) = self.directory.open(&principal.tenant_id, session, principal.caller()).await?;
        self.check_access(principal, client, access).map(|()| access)
    }

    /// Checks a message over HTTP. A verified user's first message makes a session theirs, with everything that was
    /// said in it before, so a session that is nobody's and has an id that can be guessed stays nobody's.
    ///
    /// # Errors
    /// [`Problem::Forbidden`], and when the session cannot be read.
    pub async fn check_claim(&self, principal: &Principal, session: &SessionId) -> Result<(), Problem> {
        let claims = matches!(principal.role, CallerRole::Visitor { session: None, verified: Some(_) });
        if !claims || session.as_str().len() >= CAPABILITY_BYTES {
            return Ok(());
        }
        match self.directory.open(&principal.tenant_id, session, SessionCaller::Anonymous).await?.0 {
            SessionAccess::Granted => Err(TOO_SHORT),
            SessionAccess::Denied | SessionAccess::Missing => Ok(()),
        }
    }

    /// Checks again after a socket has joined a session. When the session becomes a verified user's at that very
    /// moment, the socket is not among those that are sent away.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] when the session is closed to the caller by now.
    pub async fn check_again(
        &self,
        principal: &Principal,
        session: &SessionId,
    ) -> Result<SessionAccess, Problem> {
        match self.directory.open(&principal.tenant_id, session, principal.caller()).await?.0 {
            SessionAccess::Denied => Err(NOT_YOURS),
            access @ (SessionAccess::Granted | SessionAccess::Missing) => Ok(access),
        }
    }

    /// How many requests were refused because their client had guessed too often.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.misses.counts.refused()
    }
}

/// Requests for sessions that do not exist, by address: guessing ids is not free.
struct MissLimiter {
    counts: RateLimiter,
    limit: u32,
}

impl MissLimiter {
    fn new(settings: &RateLimitSettings) -> Self {
        let limit = if settings.http_per_minute == 0 { 0 } else { settings.session_misses_per_minute };
        Self { counts: RateLimiter::new(), limit }
    }

    /// Refuses a client with too many misses.
    fn check(&self, client: IpAddr) -> Result<(), Problem> {
        let allowance = self.counts.peek(&RateLimitKey::address(client), self.limit, Instant::now());
        allowance.map_or(Ok(()), |allowance| allowance.check())
    }

    fn count(&self, client: IpAddr) {
        let _counted = self.counts.count(&RateLimitKey::address(client), self.limit, Instant::now());
    }
}

/// Whether the session's id is all that the caller has.
fn is_guess(principal: &Principal) -> bool {
    matches!(principal.role, CallerRole::WidgetKey | CallerRole::Visitor { session: None, .. })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[actix_web::test]
    async fn guesses_at_sessions_are_refused_for_a_minute() {
        // By the monotonic clock alone, so the wall clock cannot make it longer or shorter.
        tokio::time::pause();
        let settings = RateLimitSettings {
            http_per_minute: 100,
            secret_key_per_minute: 0,
            session_misses_per_minute: 20,
            socket_per_second: 0,
            socket_messages_per_minute_per_ip: 0,
            socket_connects_per_minute_per_ip: 0,
        };
        let misses = MissLimiter::new(&settings);
        let client = "10.0.0.1".parse().unwrap();
        for _ in 0..settings.session_misses_per_minute {
            assert!(misses.check(client).is_ok());
            misses.count(client);
        }
        let refused = misses.check(client).unwrap_err();
        assert!(matches!(refused, Problem::RateLimited { retry_after_ms: 60_000 }), "{refused:?}");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(misses.check(client).is_ok());
    }
}
