//! `POST /api/chat/anonymous-token` and `POST /api/chat/token`: short-lived credentials for long-lived
//! ones.

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::sessions::SessionDirectory;
use amoiq_events::{Ambient, SessionId, UserId};
use serde::Serialize;

use super::{
    access::{self, Doorkeeper},
    body,
    context::Caller,
    fields::Fields,
    limits::Gate,
};
use crate::{
    access::auth::{Credential, Principal, Rank, Role, TokenRole, token::Mint},
    api::problem::Problem,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    token: String,
    expires_in: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
}

/// Gives a visitor a token for one session: the one named, or a new one.
///
/// # Errors
/// See the catalogue.
pub async fn anonymous(
    request: HttpRequest,
    payload: web::Payload,
    Caller(context): Caller,
    gate: web::Data<Gate>,
    directory: web::Data<SessionDirectory>,
    ambient: web::Data<Ambient>,
    ttl: web::Data<AnonymousTtl>,
) -> Result<HttpResponse, Problem> {
    let credential = context.credential.as_ref().map_err(Clone::clone)?;
    let mut body = body::read(&request, payload).await?;
    let principal = access::principal(&gate, &context, &request, &mut body)?;
    if principal.role == Role::Bot || !matches!(credential, Credential::Key { .. }) {
        return Err(Problem::Forbidden("a widget key or a secret key is needed"));
    }
    let session = body.id("sessionId", SessionId::parse);
    let origin = body.cut("origin");
    body.finish()?;
    access::check_site(&principal, &gate, &request, origin.as_ref().map(|origin| origin.as_str()))?;
    let session = match session {
        Some(session) => {
            let doorkeeper = Doorkeeper { gate: &gate, directory: &directory };
            match doorkeeper.open(&principal, context.client, &session).await {
                // A secret key may name a session before its first message.
                Ok(_) | Err(Problem::SessionNotFound) => session,
                Err(problem) => return Err(problem),
            }
        }
        None => ambient.session_id(),
    };
    let AnonymousTtl(ttl_seconds) = **ttl;
    let token = gate.authenticator.tokens().mint(Mint {
        user: anonymous_user(&session)?,
        tenant: principal.tenant_id,
        session: Some(session.clone()),
        role: TokenRole::Visitor,
        name: None,
        ttl_seconds,
        key: principal.key_id,
        verified: false,
    })?;
    Ok(HttpResponse::Ok().json(Answer { token, expires_in: ttl_seconds, session_id: Some(session) }))
}

/// The `sub` of an anonymous token. A session id may be as long as an id can be: then it is shortened.
fn anonymous_user(session: &SessionId) -> Result<UserId, Problem> {
    let name = UserId::anonymous(session);
    let end = name.floor_char_boundary(amoiq_events::id::MAX_ID_BYTES);
    UserId::parse(name.get(..end).unwrap_or_default()).map_err(|_invalid| Problem::Internal)
}

/// Gives a verified user, an agent or an admin a token. The tenant's own server asks for it.
///
/// # Errors
/// See the catalogue.
pub async fn mint(
    request: HttpRequest,
    payload: web::Payload,
    Caller(context): Caller,
    gate: web::Data<Gate>,
) -> Result<HttpResponse, Problem> {
    context.credential.as_ref().map_err(Clone::clone)?;
    let mut body = body::read(&request, payload).await?;
    let principal = access::principal(&gate, &context, &request, &mut body)?;
    if !matches!(principal.role, Role::Staff { rank: Rank::Key, .. }) {
        return Err(Problem::Forbidden("a secret key is needed"));
    }
    let mint = parse(body, principal)?;
    let expires_in = mint.ttl_seconds;
    let token = gate.authenticator.tokens().mint(mint)?;
    Ok(HttpResponse::Ok().json(Answer { token, expires_in, session_id: None }))
}

fn parse(mut body: Fields, principal: Principal) -> Result<Mint, Problem> {
    let user = body.id("userId", UserId::parse);
    let user = body.required("userId", user);
    let session = body.id("sessionId", SessionId::parse);
    let role = body.parsed("role", |role| match role {
        "visitor" => Ok(TokenRole::Visitor),
        "agent" => Ok(TokenRole::Agent),
        "admin" => Ok(TokenRole::Admin),
        _ => Err("must be visitor, agent or admin"),
    });
    let role = body.required("role", role).unwrap_or(TokenRole::Visitor);
    let name = body.cut("name").map(|name| name.to_string());
    let longest = if role == TokenRole::Visitor { VISITOR_TTL_SECONDS } else { STAFF_TTL_SECONDS };
    let ttl_seconds = body.number("ttlSeconds").unwrap_or(DEFAULT_TTL_SECONDS);
    if !(1..=longest).contains(&ttl_seconds) {
        body.refuse("ttlSeconds", format!("must be 1 to {longest}"));
    }
    if session.is_some() && role != TokenRole::Visitor {
        body.refuse("sessionId", "is for visitors only");
    }
    body.finish()?;
    let tenant = principal.tenant_id;
    let user = user.ok_or(Problem::Internal)?;
    Ok(Mint { user, tenant, session, role, name, ttl_seconds, key: principal.key_id, verified: true })
}
