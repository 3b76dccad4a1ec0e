//! Who a client is, and whether it may connect.

use std::{rc::Rc, time::Duration};

use amoiq_actors::sessions::SessionAccess;
use amoiq_events::{Ambient, SessionId, ShortText, TenantId, Timestamp, UserId, session::VisitedPage};
use amoiq_socketio::{
    engine::ClientHandshake,
    socket::{AcceptedSocket, ConnectRequest, ReviewInterval},
};

use super::{
    ChatApplication, ChatRoom,
    chat_socket::{ChatSocket, SocketRegistrations},
    recovery::RecoveryRequest,
};
use crate::{
    access::auth::{
        self, CallerRole, Credential, CredentialUse, Principal, TenantSelection, origin::RequestSite,
    },
    api::{
        connect_auth::ConnectAuth,
        field::{self, Field},
        problem::Problem,
    },
};

/// How long the end of a token can go unnoticed when the wall clock jumps over it.
const MAX_REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// A socket that handles an event is reviewed when the event is done, so it is not asked again all the time until then.
const MIN_REVIEW_INTERVAL: Duration = Duration::from_millis(100);

/// The headers that a proxy adds.
const FORWARDING_HEADERS: [&str; 2] = ["x-forwarded-for", "forwarded"];

/// What a client says about itself in its `auth` and in its handshake.
struct ClientIntroduction {
    auth: ConnectAuth,
    handshake: Rc<ClientHandshake>,
}

impl ClientIntroduction {
    /// A text of the `auth`, otherwise of the query.
    fn text(&self, field: &Field<String>, name: &str) -> Option<String> {
        ConnectAuth::text(field).map(str::to_owned).or_else(|| self.query(name))
    }

    /// A value of the query that is not empty.
    fn query(&self, name: &str) -> Option<String> {
        self.handshake.query_value(name).filter(|text| !text.is_empty())
    }

    /// An id of the `auth`, otherwise of the query.
    fn id<T, E: std::fmt::Display>(
        &self,
        name: &'static str,
        field: Field<T>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        if let Some(id) = field.value(name)? {
            return Ok(Some(id));
        }
        let parsed = self.query(name).map(|text| parse(&text));
        parsed.transpose().map_err(|error| Problem::field(name, error.to_string()))
    }

    /// The first credential in the places where clients send one.
    fn credential(&self) -> Result<Option<String>, Problem> {
        let ConnectAuth { token, api_key, .. } = &self.auth;
        if let Some(credential) = ConnectAuth::text(token).or(ConnectAuth::text(api_key)) {
            return Ok(Some(credential.to_owned()));
        }
        if let Some(credential) = self.query("token") {
            // A URL ends up in logs and histories.
            if credential.starts_with("sk_") || credential.starts_with("bk_") {
                return Err(Problem::Forbidden("a secret or bot key does not belong in a URL"));
            }
            return Ok(Some(credential));
        }
        let header = self.handshake.header("authorization").unwrap_or_default();
        Ok(auth::bearer(header).map(str::to_owned))
    }

    /// Every tenant that the client names.
    fn tenants(&mut self) -> Result<Vec<TenantId>, Problem> {
        let mut tenants = Vec::from_iter(self.auth.tenant_id.take().value("tenantId")?);
        let header = self.handshake.header("x-tenant-id").map(str::to_owned);
        for text in [self.query("tenantId"), header].into_iter().flatten().filter(|text| !text.is_empty()) {
            let tenant = TenantId::parse(&text);
            tenants.push(tenant.map_err(|error| Problem::field("tenantId", error.to_string()))?);
        }
        Ok(tenants)
    }

    /// Refuses a client that expects the rights of staff and has not got them.
    fn check_role(&self, principal: &Principal) -> Result<(), Problem> {
        let query = self.handshake.query_value("role");
        let expected = [ConnectAuth::text(&self.auth.role), query.as_deref()];
        if expected.into_iter().flatten().any(|role| role == "admin" || role == "agent") {
            principal.require_staff()?;
        }
        Ok(())
    }

    fn check_site(&self, chat: &ChatApplication, principal: &Principal) -> Result<(), Problem> {
        let origin = self.text(&self.auth.origin, "origin");
        let site = RequestSite {
            origin: self.handshake.header("origin"),
            website_origin: self.handshake.header("x-website-origin"),
            body_origin: origin.as_deref(),
        };
        chat.services.widget_origins.check(principal, &site)
    }

    /// The visitor's page as the client says, otherwise as its browser says.
    fn page(&self) -> Option<Box<VisitedPage>> {
        let text =
            |field: &Field<String>, name: &str| self.text(field, name).and_then(|text| ShortText::cut(&text));
        let header = |name: &str| self.handshake.header(name).and_then(ShortText::cut);
        let page = VisitedPage {
            domain: text(&self.auth.domain, "domain"),
            origin: text(&self.auth.origin, "origin").or_else(|| header("origin")),
            url: text(&self.auth.url, "url").or_else(|| header("referer")),
            referrer: None,
            site_id: None,
        };
        (page != VisitedPage::default()).then(|| Box::new(page))
    }
}

impl ChatApplication {
    /// Accepts a client or says why not.
    pub(super) async fn admit(&self, request: ConnectRequest) -> Result<AcceptedSocket<ChatSocket>, Problem> {
        let ConnectRequest { auth, handshake, outlet, .. } = request;
        let client = handshake.client;
        let mut introduction = ClientIntroduction { auth: field::request(auth)?, handshake };
        let (credential, principal) = self.authenticate(&mut introduction).await?;
        let user_id = introduction.auth.user_id.take();
        let claimed_user = introduction.id("userId", user_id, UserId::parse)?;
        principal.check_user(claimed_user.as_ref())?;
        let session_id = introduction.auth.session_id.take();
        let named = principal.bound_session(introduction.id("sessionId", session_id, SessionId::parse)?)?;
        let is_visitor = principal.is_visitor();
        let registrations = SocketRegistrations {
            outlet,
            provisional_number: u64::from_le_bytes(self.services.ambient.bytes()),
            rooms: self.rooms.clone(),
            tenant: principal.tenant_id.clone(),
            presence: is_visitor.then(|| self.services.online.presence.clone()),
            recovery: None,
        };
        let mut socket = ChatSocket {
            credential,
            principal,
            client,
            bound_session: None,
            claimed_user: claimed_user.filter(|_| is_visitor),
            has_messages: false,
            has_sent: false,
            page: introduction.page(),
            registrations,
        };
        let recovery = self.recovery_request(&introduction.auth, &socket).await;
        let named = named.filter(|_| is_visitor);
        let (session, recovery) = self.choose_session(&mut socket, named, recovery).await?;
        self.register(&mut socket, session).await?;
        let recovered = self.recover(&introduction.auth, &mut socket, recovery).await?;
        let review_interval = review_interval(&socket.credential, &self.services.ambient);
        Ok(AcceptedSocket {
            socket,
            pid: recovered.pid,
            first_events: recovered.events,
            seen_offset: recovered.seen_offset,
            review_interval,
        })
    }

    /// Recognises the client and counts it, whether its credential is good or not.
    async fn authenticate(
        &self,
        introduction: &mut ClientIntroduction,
    ) -> Result<(Credential, Principal), Problem> {
        let authenticator = &self.services.authenticator;
        let shown = introduction.credential();
        let credential = match &shown {
            Ok(shown) => authenticator.credential(shown.as_deref(), CredentialUse::Socket),
            Err(refused) => Err(refused.clone()),
        };
        let client = introduction.handshake.client;
        self.services.limiter.count_connect(credential.as_ref().ok(), client)?;
        let credential = match credential {
            Ok(credential) => credential,
            Err(refused) => {
                authenticator.recognise_again(shown?.as_deref(), CredentialUse::Socket, refused).await?
            }
        };
        let is_forwarded = FORWARDING_HEADERS.iter().any(|name| introduction.handshake.has_header(name));
        let selection = TenantSelection { tenants: introduction.tenants()?, is_forwarded };
        let principal = authenticator.principal(&credential, &selection)?;
        introduction.check_role(&principal)?;
        introduction.check_site(self, &principal)?;
        Ok((credential, principal))
    }

    /// Opens the session that a visitor names, otherwise the one that it recovers. Whoever names another session than
    /// the recovered one missed nothing there, and does not recover.
    async fn choose_session(
        &self,
        socket: &mut ChatSocket,
        named: Option<SessionId>,
        recovery: Option<RecoveryRequest>,
    ) -> Result<(Option<SessionId>, Option<RecoveryRequest>), Problem> {
        let recovered = recovery.as_ref().and_then(|recovery| recovery.session.clone());
        if let Some(named) = named {
            let access = self.services.guard.open(&socket.principal, socket.client, &named).await?;
            socket.has_messages = access == SessionAccess::Granted;
            let recovery = recovery.filter(|_| recovered.as_ref() == Some(&named));
            return Ok((Some(named), recovery));
        }
        let Some(recovered) = recovered else { return Ok((None, recovery)) };
        match self.services.guard.open(&socket.principal, socket.client, &recovered).await {
            Ok(access) => {
                socket.has_messages = access == SessionAccess::Granted;
                Ok((Some(recovered), recovery))
            }
            Err(_closed) => Ok((None, None)),
        }
    }

    /// Registers a socket in its rooms and in the presence: from now on it receives what it may receive.
    async fn register(&self, socket: &mut ChatSocket, session: Option<SessionId>) -> Result<(), Problem> {
        if matches!(socket.principal.role, CallerRole::Staff { .. }) {
            socket.join(ChatRoom::Staff(socket.principal.tenant_id.clone()));
        }
        match session {
            Some(session) => self.bind(socket, session, None, None).await?,
            None => {
                let identity = self.identify(socket, None).await;
                if let Some(visitor) = socket.visitor(identity, None) {
                    socket.registrations.set_online(visitor).await;
                }
            }
        }
        Ok(())
    }
}

/// When to check whether a credential has expired. A visitor's connection outlives its token, since it sees nothing but
/// its session. A token ends at a date, and a jump of the wall clock brings that nearer or puts it off, so the time that
/// is left is determined again at every check.
fn review_interval(credential: &Credential, ambient: &Ambient) -> Option<ReviewInterval> {
    let Credential::Token(claims) = credential else { return None };
    if claims.role == auth::TokenRole::Visitor {
        return None;
    }
    let (end, ambient) = (Timestamp::from_millis(claims.exp.saturating_mul(1_000)), ambient.clone());
    Some(Box::new(move || {
        let left = end.saturating_since(ambient.now());
        left.clamp(MIN_REVIEW_INTERVAL, MAX_REVIEW_INTERVAL)
    }))
}
