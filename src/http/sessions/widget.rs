//! `POST /webchat/session`, `/webchat/open` and `/webchat/init`: what the widget's present generation asks for before anybody
//! writes. None of them appends anything: every page view calls them.

use actix_web::{HttpResponse, web};
use amoiq_actors::sessions::{SessionConversation, SessionDirectory};
use amoiq_events::{
    SessionId, ShortText, UserId,
    session::{SessionCaller, VisitedPage},
};
use serde_json::{Map, Value, value::to_raw_value};

use super::public_origin::PublicOrigin;
use crate::{
    access::{
        auth::{Authenticator, Principal, TokenRole, TokenType, token::NewToken},
        message_intake::MessageIntake,
        session_guard::SessionGuard,
        visitor_notes::{VisitorNote, VisitorNotes},
    },
    api::{
        field::{Field, Validation},
        problem::Problem,
        sessions::{
            SessionResponse,
            widget::{WidgetInitResponse, WidgetRequest, WidgetSessionResponse},
        },
    },
    http::authenticated::Authenticated,
};

/// How long a token for a socket is good, in days: `auth.ws_token_days`.
#[derive(Debug, Clone, Copy)]
pub struct SocketTokenDays(pub u32);

const DAY_SECONDS: u32 = 86_400;

/// What the handlers need.
pub struct WidgetServices {
    /// Mints tokens.
    pub authenticator: web::Data<Authenticator>,
    /// Decides who may open which session.
    pub guard: web::Data<SessionGuard>,
    /// The sessions.
    pub directory: web::Data<SessionDirectory>,
    /// What pages say of visitors.
    pub notes: VisitorNotes,
    /// Limits of what they say.
    pub intake: web::Data<MessageIntake>,
    /// Where the service is reached.
    pub origin: PublicOrigin,
    /// `auth.ws_token_days`
    pub token_days: SocketTokenDays,
}

/// Gives a page the token with which it opens its socket.
///
/// # Errors
/// See the catalogue.
pub async fn session(
    caller: Authenticated<WidgetRequest>,
    widget: web::Data<WidgetServices>,
) -> Result<HttpResponse, Problem> {
    let page = widget.admit(caller).await?;
    let (ws_token, expires_in) = widget.token(&page)?;
    let websocket_url = page.origin;
    let session_id = page.session;
    Ok(HttpResponse::Ok().json(WidgetSessionResponse {
        success: true,
        session_id,
        ws_token,
        expires_in,
        websocket_url,
    }))
}

/// The visitor opened the chat.
///
/// # Errors
/// See the catalogue.
pub async fn open(
    caller: Authenticated<WidgetRequest>,
    widget: web::Data<WidgetServices>,
) -> Result<HttpResponse, Problem> {
    let page = widget.admit(caller).await?;
    Ok(HttpResponse::Ok().json(SessionResponse { success: true, session_id: page.session }))
}

/// The visitor said who they are. The page opens a new socket with the new token.
///
/// # Errors
/// See the catalogue.
pub async fn init(
    caller: Authenticated<WidgetRequest>,
    widget: web::Data<WidgetServices>,
) -> Result<HttpResponse, Problem> {
    let page = widget.admit(caller).await?;
    let (ws_token, expires_in) = widget.token(&page)?;
    let anonymous = || UserId::anonymous(&page.session);
    let named = page.visitor_id.as_ref().or(page.user_id.as_ref());
    Ok(HttpResponse::Ok().json(WidgetInitResponse {
        success: true,
        ws_token,
        expires_in,
        ws_server_url: page.origin,
        closed_at: page.conversation.and_then(|conversation| conversation.closed_at),
        conversation_id: page.conversation.map(|conversation| conversation.id),
        visitor_id: named.map_or_else(anonymous, ToString::to_string),
        tenant_id: page.principal.tenant_id,
        integration_id: page.principal.key_id,
        site_id: page.site_id,
        session_id: page.session,
    }))
}

/// A page that may open its session.
struct AdmittedPage {
    principal: Principal,
    session: SessionId,
    conversation: Option<SessionConversation>,
    visitor_id: Option<UserId>,
    user_id: Option<UserId>,
    site_id: Option<ShortText>,
    /// Where its socket is opened.
    origin: String,
}

impl WidgetServices {
    /// Checks a page's request, and keeps what it says of the visitor for their next message.
    async fn admit(&self, mut caller: Authenticated<WidgetRequest>) -> Result<AdmittedPage, Problem> {
        // The token that it gets would not be a verified user's, so it is not for one.
        if !caller.principal.is_visitor() || caller.principal.caller() != SessionCaller::Anonymous {
            return Err(Problem::Forbidden("a widget key or an anonymous visitor's token is needed"));
        }
        let body = std::mem::take(&mut caller.body);
        let mut validation = Validation::new();
        let session = validation.required("sessionId", body.session_id);
        let visitor_id = validation.optional("visitorId", body.visitor_id);
        let limit = self.intake.limits.user_info_bytes;
        let named = [("name", "userName", body.user_name), ("email", "email", body.email)];
        let named = named_info(&mut validation, named);
        let user_info = validation.parsed("userInfo", body.user_info, |info| info.within(limit));
        let site_id = validation.optional("siteId", body.site_id).map(|label| label.0);
        let note = VisitorNote {
            user_id: validation.optional("userId", body.user_id),
            user_info: user_info.or(named),
            fingerprint: validation.optional("fingerprint", body.fingerprint).map(|label| label.0),
            page: VisitedPage {
                domain: validation.optional("domain", body.domain),
                origin: validation.optional("origin", body.origin),
                url: validation.optional("url", body.url),
                referrer: validation.optional("referrer", body.referrer),
                site_id: site_id.clone(),
            },
        };
        validation.finish()?;
        caller.check_site(note.page.origin.as_ref().map(ShortText::as_str))?;
        let origin = self.origin.of(&caller.request);
        let Authenticated { principal, client, .. } = caller;
        principal.check_user(note.user_id.as_ref())?;
        let session = principal.bound_session(session)?.ok_or(Problem::Internal)?;
        self.guard.open(&principal, client, &session).await?;
        let (_, conversation) =
            self.directory.open(&principal.tenant_id, &session, principal.caller()).await?;
        let user_id = note.user_id.clone();
        self.notes.note(&principal.tenant_id, &session, note);
        Ok(AdmittedPage { principal, session, conversation, visitor_id, user_id, site_id, origin })
    }

    /// A token for sockets of the page's session, and how long it is good, in seconds.
    fn token(&self, page: &AdmittedPage) -> Result<(String, u32), Problem> {
        let SocketTokenDays(days) = self.token_days;
        let ttl_seconds = days.saturating_mul(DAY_SECONDS);
        let token = self.authenticator.tokens().mint(NewToken {
            user: UserId::of_anonymous(&page.session),
            tenant: page.principal.tenant_id.clone(),
            session: Some(page.session.clone()),
            role: TokenRole::Visitor,
            name: None,
            ttl_seconds,
            key: page.principal.key_id.clone(),
            verified: false,
            typ: Some(TokenType::Ws),
        })?;
        Ok((token, ttl_seconds))
    }
}

/// What single fields say about the visitor, in the form of `userInfo`.
fn named_info(
    validation: &mut Validation,
    fields: [(&str, &'static str, Field<ShortText>); 2],
) -> Option<Box<serde_json::value::RawValue>> {
    let mut info = Map::new();
    for (member, name, field) in fields {
        if let Some(text) = validation.optional(name, field) {
            info.insert(member.to_owned(), Value::String(text.as_str().to_owned()));
        }
    }
    if info.is_empty() { None } else { to_raw_value(&info).ok() }
}
