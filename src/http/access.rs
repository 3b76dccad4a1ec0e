//! Who a request is from and which tenant it is about: the same first steps for every route.

use std::net::IpAddr;

use actix_web::HttpRequest;
use amoiq_actors::sessions::{SessionAccess, SessionDirectory};
use amoiq_events::{SessionId, TenantId, session::SessionCaller};

use super::{Context, fields::Fields, limits::Gate};
use crate::{
    access::auth::{Asked, CAPABILITY_BYTES, Principal, Role, origin::Site},
    access::forwarded,
    api::problem::Problem,
};

/// What sessions a public credential opens, and from which sites.
#[derive(Debug, Clone)]
pub struct Policy {
    /// `security.widget_key_reads_history`
    pub widget_key_reads_history: bool,
    /// `server.widget_origins`
    pub widget_origins: Vec<String>,
}

/// Recognises the caller in the tenant that the request names in its header, query and body.
///
/// # Errors
/// When the credential is not good, or not for this tenant.
pub fn principal(
    gate: &Gate,
    context: &Context,
    request: &HttpRequest,
    body: &mut Fields,
) -> Result<Principal, Problem> {
    let credential = context.credential.as_ref().map_err(Clone::clone)?;
    let tenant = |field: &'static str, text: &str| {
        TenantId::parse(text).map_err(|error| Problem::field(field, error.to_string()))
    };
    let mut tenants = Vec::new();
    for value in request.headers().get_all("x-tenant-id").filter(|value| !value.is_empty()) {
        let text = str::from_utf8(value.as_bytes());
        tenants
            .push(tenant("X-Tenant-ID", text.map_err(|_invalid| Problem::field("X-Tenant-ID", NOT_UTF8))?)?);
    }
    // Read here and not as one of the fields: a query can name several, and they have to agree.
    for (name, value) in url::form_urlencoded::parse(request.query_string().as_bytes()) {
        if name == "tenantId" && !value.is_empty() {
            tenants.push(tenant("tenantId", &value)?);
        }
    }
    tenants.extend(body.id("tenantId", TenantId::parse));
    body.check()?;
    let is_forwarded = forwarded::is_forwarded(request.headers());
    gate.authenticator.principal(credential, &Asked { tenants, is_forwarded })
}

/// Lets a widget key pass only from the tenant's sites.
///
/// # Errors
/// [`Problem::OriginNotAllowed`].
pub fn check_site(
    principal: &Principal,
    gate: &Gate,
    request: &HttpRequest,
    body_origin: Option<&str>,
) -> Result<(), Problem> {
    if principal.role != Role::WidgetKey {
        return Ok(());
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let site = Site { origin: header("origin"), website_origin: header("x-website-origin"), body_origin };
    site.check(&principal.tenant, &gate.policy.widget_origins)
}

/// Holds the session that a request names against the one that the token is bound to.
///
/// # Errors
/// [`Problem::Forbidden`] when they differ.
pub fn bound_session(principal: &Principal, named: Option<SessionId>) -> Result<Option<SessionId>, Problem> {
    match (&principal.role, named) {
        (Role::Visitor { session: Some(bound), .. }, Some(named)) if *bound != named => {
            Err(Problem::Forbidden("the token is for another session"))
        }
        (Role::Visitor { session: Some(bound), .. }, _) => Ok(Some(bound.clone())),
        (_, named) => Ok(named),
    }
}

/// Holds the user that a request names against the one that a secret key vouched for.
///
/// # Errors
/// [`Problem::Forbidden`] when they differ.
pub fn check_user(principal: &Principal, named: Option<&amoiq_events::UserId>) -> Result<(), Problem> {
    match (&principal.role, named) {
        (Role::Visitor { verified: Some(user), .. }, Some(named)) if user != named => {
            Err(Problem::Forbidden("the token is for another user"))
        }
        _ => Ok(()),
    }
}

/// What is said of a header that is no text.
pub const NOT_UTF8: &str = "must be UTF-8";

/// What is said of a session that a verified user has used.
pub const NOT_YOURS: Problem = Problem::Forbidden("the session belongs to a verified user");

const TOO_SHORT: Problem = Problem::Forbidden("a session id that opens a session has at least 16 characters");

/// Opens sessions: the one check for everything that a session's id is a capability for.
pub struct Doorkeeper<'a> {
    /// Counts misses, and knows what public credentials may.
    pub gate: &'a Gate,
    /// Knows sessions.
    pub directory: &'a SessionDirectory,
}

impl Doorkeeper<'_> {
    /// What a caller has to be able to do before the session is looked at: an id that can be guessed,
    /// or one guess too many, is refused.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] or [`Problem::RateLimited`].
    pub fn before(&self, principal: &Principal, client: IpAddr, session: &SessionId) -> Result<(), Problem> {
        if !Self::is_guess(principal) {
            return Ok(());
        }
        if session.as_str().len() < CAPABILITY_BYTES {
            return Err(TOO_SHORT);
        }
        self.gate.check_misses(client)
    }

    /// What follows from what the session's actor said.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] when the session stays closed to the caller, [`Problem::SessionNotFound`]
    /// for staff.
    pub fn after(&self, principal: &Principal, client: IpAddr, access: SessionAccess) -> Result<(), Problem> {
        match (access, &principal.role) {
            (SessionAccess::Denied, _) => Err(NOT_YOURS),
            (SessionAccess::Missing, Role::Staff { .. } | Role::Bot) => Err(Problem::SessionNotFound),
            (SessionAccess::Missing, _) => {
                if Self::is_guess(principal) {
                    self.gate.count_miss(client);
                }
                Ok(())
            }
            (SessionAccess::Granted, Role::WidgetKey) if !self.gate.policy.widget_key_reads_history => {
                Err(Problem::Forbidden("a session that exists is opened by its token"))
            }
            (SessionAccess::Granted, _) => Ok(()),
        }
    }

    /// Both, for a request that does not read the session itself.
    ///
    /// # Errors
    /// As [`Doorkeeper::before`] and [`Doorkeeper::after`], and when the session cannot be read.
    pub async fn open(
        &self,
        principal: &Principal,
        client: IpAddr,
        session: &SessionId,
    ) -> Result<SessionAccess, Problem> {
        self.before(principal, client, session)?;
        let caller: SessionCaller = principal.caller();
        let access = self.directory.access(&principal.tenant_id, session, caller).await?;
        self.after(principal, client, access).map(|()| access)
    }

    /// What a message over HTTP is held to. A verified user's first one makes a session theirs, with all that was
    /// said in it before: one that is nobody's and has an id that can be guessed stays nobody's.
    ///
    /// # Errors
    /// [`Problem::Forbidden`], and when the session cannot be read.
    pub async fn claim(&self, principal: &Principal, session: &SessionId) -> Result<(), Problem> {
        let claims = matches!(principal.role, Role::Visitor { session: None, verified: Some(_) });
        if !claims || session.as_str().len() >= CAPABILITY_BYTES {
            return Ok(());
        }
        match self.directory.access(&principal.tenant_id, session, SessionCaller::Anonymous).await? {
            SessionAccess::Granted => Err(TOO_SHORT),
            SessionAccess::Denied | SessionAccess::Missing => Ok(()),
        }
    }

    /// Looks again after the caller went in: who goes in just when the session becomes a verified user's is not
    /// among those whom that sends away.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] when it is closed to the caller by now.
    pub async fn look_again(
        &self,
        principal: &Principal,
        session: &SessionId,
    ) -> Result<SessionAccess, Problem> {
        match self.directory.access(&principal.tenant_id, session, principal.caller()).await? {
            SessionAccess::Denied => Err(NOT_YOURS),
            access @ (SessionAccess::Granted | SessionAccess::Missing) => Ok(access),
        }
    }

    /// Whether the session's id is all that the caller has.
    fn is_guess(principal: &Principal) -> bool {
        matches!(principal.role, Role::WidgetKey | Role::Visitor { session: None, .. })
    }
}
