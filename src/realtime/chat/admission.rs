//! Who a client is, and whether it may connect.

use std::{rc::Rc, time::Duration};

use amoiq_actors::sessions::SessionAccess;
use amoiq_events::{Ambient, SessionId, ShortText, TenantId, UserId, session::VisitedPage};
use amoiq_socketio::{
    engine::ClientHandshake,
    socket::{AcceptedSocket, ConnectRequest, ReviewInterval},
};
use serde_json::{Map, Value};

use super::{
    Chat, Room,
    socket::{ChatSocket, Place},
};
use crate::{
    access::auth::{self, CallerRole, Credential, Principal, TenantSelection, origin::RequestSite},
    api::{field::values::id_text, problem::Problem},
};

/// How long a token's end can pass unnoticed when the wall clock steps over it.
const REVIEW_EVERY: Duration = Duration::from_secs(60);

/// A socket whose event is being handled is looked at when that is done, not all the time until then.
const REVIEW_SOONEST: Duration = Duration::from_millis(100);

/// What a client says of itself, in its `auth` and in its handshake.
struct Introduction {
    auth: Map<String, Value>,
    handshake: Rc<ClientHandshake>,
}

impl Introduction {
    /// A text of the `auth`, else of the query.
    fn text(&self, name: &str) -> Option<String> {
        let auth = self.auth.get(name).and_then(Value::as_str).map(str::to_owned);
        auth.filter(|text| !text.is_empty()).or_else(|| self.query(name))
    }

    /// A value of the query that says something.
    fn query(&self, name: &str) -> Option<String> {
        self.handshake.query_value(name).filter(|text| !text.is_empty())
    }

    /// An id of the `auth`.
    fn auth_id(&self, name: &'static str) -> Result<Option<String>, Problem> {
        let value = self.auth.get(name).cloned().unwrap_or_default();
        id_text(value).map_err(|reason| Problem::field(name, reason))
    }

    /// The first credential of those that clients know to send.
    fn credential(&self) -> Result<Option<String>, Problem> {
        let auth = |name: &str| self.auth.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(credential) = auth("token").or_else(|| auth("apiKey")) {
            return Ok(Some(credential.to_owned()));
        }
        if let Some(credential) = self.query("token") {
            // A URL stands in logs and histories.
            if credential.starts_with("sk_") || credential.starts_with("bk_") {
                return Err(Problem::Forbidden("a secret or bot key does not belong in a URL"));
            }
            return Ok(Some(credential));
        }
        let header = self.handshake.header("authorization").unwrap_or_default();
        Ok(auth::bearer(header).map(str::to_owned))
    }

    /// Every tenant that it names.
    fn tenants(&self) -> Result<Vec<TenantId>, Problem> {
        let auth = self.auth_id("tenantId")?;
        let query = self.query("tenantId");
        let header = self.handshake.header("x-tenant-id").map(str::to_owned);
        let named = [auth, query, header].into_iter().flatten().filter(|text| !text.is_empty());
        named
            .map(|text| TenantId::parse(&text).map_err(|error| Problem::field("tenantId", error.to_string())))
            .collect()
    }

    fn check_role(&self, principal: &Principal) -> Result<(), Problem> {
        let auth = self.auth.get("role").and_then(Value::as_str).map(str::to_owned);
        let asked = [auth, self.handshake.query_value("role")];
        if asked.into_iter().flatten().any(|role| role == "admin" || role == "agent") {
            principal.require_staff()?;
        }
        Ok(())
    }

    fn check_site(&self, chat: &Chat, principal: &Principal) -> Result<(), Problem> {
        let told = self.text("origin");
        let site = RequestSite {
            origin: self.handshake.header("origin"),
            website_origin: self.handshake.header("x-website-origin"),
            body_origin: told.as_deref(),
        };
        chat.parts.widget_origins.check(principal, &site)
    }

    /// Where its page is: what it says, else what its browser says.
    fn page(&self) -> Option<Box<VisitedPage>> {
        let told = |name: &str| self.text(name).and_then(|text| ShortText::cut(&text));
        let header = |name: &str| self.handshake.header(name).and_then(ShortText::cut);
        let page = VisitedPage {
            domain: told("domain"),
            origin: told("origin").or_else(|| header("origin")),
            url: told("url").or_else(|| header("referer")),
            referrer: None,
            site_id: None,
        };
        (page != VisitedPage::default()).then(|| Box::new(page))
    }

    fn id<T, E: std::fmt::Display>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let text = self.auth_id(name)?.or_else(|| self.query(name));
        text.map(|text| parse(&text).map_err(|error| Problem::field(name, error.to_string()))).transpose()
    }
}

impl Chat {
    /// Lets a client in, or says why not.
    pub(super) async fn admit(
        &self,
        connecting: ConnectRequest,
    ) -> Result<AcceptedSocket<ChatSocket>, Problem> {
        let ConnectRequest { auth, handshake, socket: id, recipient, .. } = connecting;
        let client = handshake.client;
        let introduction = Introduction { auth, handshake };
        let authenticator = &self.parts.authenticator;
        let credential = introduction.credential();
        let credential = credential.and_then(|shown| authenticator.credential(shown.as_deref()));
        self.parts.limiter.count_connect(credential.as_ref().ok(), client)?;
        let credential = credential?;
        let is_forwarded =
            ["x-forwarded-for", "forwarded"].iter().any(|name| introduction.handshake.has_header(name));
        let asked = TenantSelection { tenants: introduction.tenants()?, is_forwarded };
        let principal = authenticator.principal(&credential, &asked)?;
        introduction.check_role(&principal)?;
        introduction.check_site(self, &principal)?;
        let claimed = introduction.id("userId", UserId::parse)?;
        principal.check_user(claimed.as_ref())?;
        let named = principal.bound_session(introduction.id("sessionId", SessionId::parse)?)?;
        let is_visitor = principal.is_visitor();
        let claimed = claimed.filter(|_| is_visitor);
        let place = Place {
            id,
            recipient,
            stranger: u64::from_le_bytes(self.parts.ambient.bytes()),
            rooms: self.rooms.clone(),
            tenant: principal.tenant_id.clone(),
            presence: is_visitor.then(|| self.parts.online.presence.clone()),
            recovers: None,
        };
        let page = introduction.page();
        let (bound, has_written, has_spoken) = (None, false, false);
        let mut socket = ChatSocket {
            credential,
            principal,
            client,
            bound,
            claimed,
            has_written,
            has_spoken,
            page,
            place,
        };
        let mut comeback = self.comeback(&introduction.auth, &socket).await;
        let known = comeback.as_ref().and_then(|comeback| comeback.session.clone());
        let session = match named.filter(|_| is_visitor) {
            Some(named) => {
                let access = self.parts.guard.open(&socket.principal, client, &named).await?;
                socket.has_written = access == SessionAccess::Granted;
                // Somewhere else it missed nothing, and does not recover either.
                comeback = comeback.filter(|_| known.as_ref() == Some(&named));
                Some(named)
            }
            None => match known {
                Some(known) => match self.parts.guard.open(&socket.principal, client, &known).await {
                    Ok(access) => {
                        socket.has_written = access == SessionAccess::Granted;
                        Some(known)
                    }
                    Err(_closed_to_it) => {
                        comeback = None;
                        None
                    }
                },
                None => None,
            },
        };
        self.place(&mut socket, session).await?;
        let (pid, missed, seen) = self.resume(&introduction.auth, &mut socket, comeback).await?;
        let review_after = review_after(&socket.credential, &self.parts.ambient);
        Ok(AcceptedSocket {
            socket,
            pid,
            first_events: missed,
            seen_offset: seen,
            review_interval: review_after,
        })
    }

    /// Gives a socket its places: from now on it hears what it may hear.
    async fn place(&self, socket: &mut ChatSocket, session: Option<SessionId>) -> Result<(), Problem> {
        if matches!(socket.principal.role, CallerRole::Staff { .. }) {
            socket.join(Room::Staff(socket.principal.tenant_id.clone())).await;
        }
        match session {
            Some(session) => self.bind(socket, session, None, None).await?,
            None => {
                let naming = self.naming(socket, None).await;
                if let Some(visitor) = socket.visitor(naming, None) {
                    socket.place.appear(visitor).await;
                }
            }
        }
        Ok(())
    }
}

/// When to look whether a credential has ended by itself. A visitor's connection outlives its token: its session is
/// all that it sees. A token ends on a date, which a step of the wall clock brings nearer or puts off, so the time
/// that is left is worked out again at every look.
fn review_after(credential: &Credential, ambient: &Ambient) -> Option<ReviewInterval> {
    let Credential::Token(claims) = credential else { return None };
    if claims.role == auth::TokenRole::Visitor {
        return None;
    }
    let (end_ms, ambient) = (claims.exp.saturating_mul(1_000), ambient.clone());
    Some(Box::new(move || {
        let left_ms = end_ms.saturating_sub(ambient.now().as_millis());
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        left.clamp(REVIEW_SOONEST, REVIEW_EVERY)
    }))
}
