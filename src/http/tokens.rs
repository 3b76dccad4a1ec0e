//! `POST /api/chat/anonymous-token` and `POST /api/chat/token`: short-lived credentials for long-lived ones.

use actix_web::{HttpResponse, web};
use amoiq_events::{Ambient, UserId};

use super::authenticated::Authenticated;
use crate::{
    access::{
        auth::{Authenticator, CallerRole, Principal, StaffRank, TokenRole, token::NewToken},
        session_guard::SessionGuard,
    },
    api::{
        field::Validation,
        problem::Problem,
        tokens::{AnonymousTokenRequest, MintTokenRequest, TokenResponse},
    },
};

/// How long a token is good when nothing is said, in seconds.
const DEFAULT_TTL_SECONDS: u32 = 3_600;

/// How long an agent's or admin's token is good at the most, in seconds: 24 hours.
const STAFF_TTL_SECONDS: u32 = 86_400;

/// How long a verified visitor's token is good at the most, in seconds: 30 days.
const VISITOR_TTL_SECONDS: u32 = 30 * 86_400;

/// How long an anonymous token is good, in seconds: `auth.anonymous_token_seconds`.
#[derive(Debug, Clone, Copy)]
pub struct AnonymousTtl(pub u32);

/// Gives a visitor a token for one session: the one named, or a new one.
///
/// # Errors
/// See the catalogue.
pub async fn anonymous(
    mut caller: Authenticated<AnonymousTokenRequest>,
    authenticator: web::Data<Authenticator>,
    guard: web::Data<SessionGuard>,
    ambient: web::Data<Ambient>,
    ttl: web::Data<AnonymousTtl>,
) -> Result<HttpResponse, Problem> {
    if !matches!(
        caller.principal.role,
        CallerRole::WidgetKey | CallerRole::Staff { rank: StaffRank::Key, .. }
    ) {
        return Err(Problem::Forbidden("a widget key or a secret key is needed"));
    }
    let body = std::mem::take(&mut caller.body);
    let mut validation = Validation::new();
    let session = validation.optional("sessionId", body.session_id);
    let origin = validation.optional("origin", body.origin);
    validation.finish()?;
    caller.check_site(origin.as_ref().map(|origin| origin.as_str()))?;
    let Authenticated { principal, client, .. } = caller;
    let session = match session {
        Some(session) => match guard.open(&principal, client, &session).await {
            // A secret key may name a session before its first message.
            Ok(_) | Err(Problem::SessionNotFound) => session,
            Err(problem) => return Err(problem),
        },
        None => ambient.session_id(),
    };
    let AnonymousTtl(ttl_seconds) = **ttl;
    let token = authenticator.tokens().mint(NewToken {
        user: UserId::of_anonymous(&session),
        tenant: principal.tenant_id,
        session: Some(session.clone()),
        role: TokenRole::Visitor,
        name: None,
        ttl_seconds,
        key: principal.key_id,
        verified: false,
        typ: None,
    })?;
    let response = TokenResponse { token, expires_in: ttl_seconds, session_id: Some(session) };
    Ok(HttpResponse::Ok().json(response))
}

/// Gives a verified user, an agent or an admin a token. The tenant's own server asks for it.
///
/// # Errors
/// See the catalogue.
pub async fn mint(
    caller: Authenticated<MintTokenRequest>,
    authenticator: web::Data<Authenticator>,
) -> Result<HttpResponse, Problem> {
    if !matches!(caller.principal.role, CallerRole::Staff { rank: StaffRank::Key, .. }) {
        return Err(Problem::Forbidden("a secret key is needed"));
    }
    let token = new_token(caller.body, caller.principal)?;
    let expires_in = token.ttl_seconds;
    let token = authenticator.tokens().mint(token)?;
    Ok(HttpResponse::Ok().json(TokenResponse { token, expires_in, session_id: None }))
}

fn new_token(body: MintTokenRequest, principal: Principal) -> Result<NewToken, Problem> {
    let mut validation = Validation::new();
    let user = validation.required("userId", body.user_id);
    let session = validation.optional("sessionId", body.session_id);
    let role = validation.required("role", body.role).unwrap_or(TokenRole::Visitor);
    let name = validation.optional("name", body.name).map(|name| name.to_string());
    let longest = if role == TokenRole::Visitor { VISITOR_TTL_SECONDS } else { STAFF_TTL_SECONDS };
    let ttl_seconds = validation.optional("ttlSeconds", body.ttl_seconds).unwrap_or(DEFAULT_TTL_SECONDS);
    if !(1..=longest).contains(&ttl_seconds) {
        validation.refuse("ttlSeconds", format!("must be 1 to {longest}"));
    }
    if session.is_some() && role != TokenRole::Visitor {
        validation.refuse("sessionId", "is for visitors only");
    }
    validation.finish()?;
    Ok(NewToken {
        user: user.ok_or(Problem::Internal)?,
        tenant: principal.tenant_id,
        session,
        role,
        name,
        ttl_seconds,
        key: principal.key_id,
        verified: true,
        typ: None,
    })
}
