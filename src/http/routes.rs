//! Every route of the public API, with its handler and its description.

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::header::ContentType,
    web::{self, Bytes},
};
use serde_json::Value;

use super::{
    endpoint::Endpoint, health, history, messages, online_users, sessions, sessions::widget, tokens,
};
use crate::api::{
    health::{HealthResponse, UnavailableResponse},
    messages::{HistoryQuery, HistoryResponse, SendMessageRequest, SendMessageResponse},
    online::OnlineUsersResponse,
    openapi::{DocumentInfo, Operation, document},
    problem::{ErrorCode, Problem},
    sessions::{
        SessionResponse, TenantRequest,
        widget::{WidgetInitResponse, WidgetRequest, WidgetSessionResponse},
    },
    tokens::{AnonymousTokenRequest, MintTokenRequest, TokenResponse},
};

mod webhook_routes;

/// The kinds of credentials that a route takes.
const EVERYBODY: &[&str] = &["widgetKey", "secretKey", "botKey", "token"];
const KEYS: &[&str] = &["widgetKey", "secretKey"];
const VISITORS: &[&str] = &["widgetKey", "token"];
const STAFF: &[&str] = &["secretKey", "token"];
const SECRET_KEY: &[&str] = &["secretKey"];

/// Errors of every route that is for a tenant.
const CALLER: &[ErrorCode] = &[
    ErrorCode::InvalidApiKey,
    ErrorCode::InvalidJwtToken,
    ErrorCode::Forbidden,
    ErrorCode::MissingTenantId,
    ErrorCode::ValidationFailed,
    ErrorCode::TenantNotFound,
    ErrorCode::RateLimitExceeded,
    ErrorCode::InternalError,
    ErrorCode::Overloaded,
];

/// Errors of routes that read a body.
const BODY: &[ErrorCode] =
    &[ErrorCode::MalformedJson, ErrorCode::PayloadTooLarge, ErrorCode::UnsupportedMediaType];

/// Errors of routes that need the store.
const STORE: &[ErrorCode] = &[ErrorCode::StoreUnavailable];

const INFO: DocumentInfo = DocumentInfo {
    title: "amoiq",
    description: "The API of the chat widget's backend, for visitors' pages, agents, bots and customers' servers. \
                  A credential goes into the header `Authorization: Bearer`. A request that names a tenant twice (in \
                  its body, its query or the header `X-Tenant-ID`) must name the same one. Fields that a route does \
                  not know are ignored, and `null` counts as absent unless a route says otherwise. A client may make \
                  100 requests a minute from one address (`rate_limit.http_per_minute`), and 6,000 with a secret or \
                  bot key (`rate_limit.secret_key_per_minute`); the headers `X-RateLimit-Limit`, \
                  `X-RateLimit-Remaining` and `X-RateLimit-Reset` tell how many are left. A body has at most 128 KiB \
                  (`limits.body_bytes`). Sockets are described in docs/API.md.",
    security_schemes: &[
        ("widgetKey", "A widget key, `wk_…`: public, in every visitor's page."),
        ("secretKey", "A secret key, `sk_…`: a customer's server."),
        ("botKey", "A bot key, `bk_…`."),
        ("token", "A JWT that this service minted, for a visitor, an agent or an admin."),
    ],
};

/// Registers every route there is.
pub fn configure(routes: &mut web::ServiceConfig) {
    for endpoint in endpoints() {
        endpoint.register(routes);
    }
    routes.default_service(web::to(not_found));
}

/// The OpenAPI document of the public API.
#[must_use]
pub fn openapi() -> Value {
    let endpoints = endpoints();
    document(&INFO, endpoints.iter().flat_map(Endpoint::operations))
}

fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = chat_endpoints();
    endpoints.extend(widget_endpoints());
    endpoints.extend(service_endpoints());
    endpoints.extend(webhook_routes::endpoints());
    endpoints
}

fn chat_endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/webchat/message").post(
            messages::send,
            Operation::new("sendMessage", "Sends a message.", "chat")
                .security(EVERYBODY)
                .body::<SendMessageRequest>()
                .response::<SendMessageResponse>(200)
                .errors(&[CALLER, BODY, STORE].concat())
                .errors(&[
                    ErrorCode::OriginNotAllowed,
                    ErrorCode::SessionNotFound,
                    ErrorCode::IdempotencyMismatch,
                ]),
        ),
        Endpoint::at("/api/chat/messages").get(
            history::read,
            Operation::new(
                "readMessages",
                "Reads a session's messages, or a user's across sessions.",
                "chat",
            )
            .security(EVERYBODY)
            .query::<HistoryQuery>()
            .response::<HistoryResponse>(200)
            .errors(&[CALLER, STORE].concat())
            .errors(&[
                ErrorCode::OriginNotAllowed,
                ErrorCode::SessionNotFound,
                ErrorCode::UserNotFound,
            ]),
        ),
        Endpoint::at("/api/chat/anonymous-token").post(
            tokens::anonymous,
            Operation::new("mintAnonymousToken", "Gives a visitor a token for one session.", "tokens")
                .security(KEYS)
                .body::<AnonymousTokenRequest>()
                .response::<TokenResponse>(200)
                .errors(&[CALLER, BODY, STORE].concat())
                .errors(&[ErrorCode::OriginNotAllowed]),
        ),
        Endpoint::at("/api/chat/token").post(
            tokens::mint,
            Operation::new("mintToken", "Gives a verified user, an agent or an admin a token.", "tokens")
                .security(SECRET_KEY)
                .body::<MintTokenRequest>()
                .response::<TokenResponse>(200)
                .errors(&[CALLER, BODY].concat()),
        ),
        Endpoint::at("/api/chat/online-users").get(
            online_users::list,
            Operation::new("listOnlineUsers", "Lists the visitors who are online, the newest first.", "chat")
                .security(STAFF)
                .response::<OnlineUsersResponse<'static>>(200)
                .errors(&[CALLER, STORE].concat()),
        ),
        Endpoint::at("/api/chat/sessions/{session}/close").post(
            sessions::close,
            Operation::new("closeSession", "Closes a conversation until the next message.", "chat")
                .security(STAFF)
                .optional_body::<TenantRequest>()
                .response::<SessionResponse>(200)
                .errors(&[CALLER, BODY, STORE].concat())
                .errors(&[ErrorCode::SessionNotFound]),
        ),
    ]
}

/// What the widget's present generation uses beside the chat.
fn widget_endpoints() -> Vec<Endpoint> {
    let described = |id, summary| {
        Operation::new(id, summary, "widget")
            .security(VISITORS)
            .body::<WidgetRequest>()
            .errors(&[CALLER, BODY, STORE].concat())
            .errors(&[ErrorCode::OriginNotAllowed])
    };
    vec![
        Endpoint::at("/webchat/session").post(
            widget::session,
            described("openWidgetSession", "Gives a page the token for its socket.")
                .response::<WidgetSessionResponse>(200),
        ),
        Endpoint::at("/webchat/open").post(
            widget::open,
            described("openWidget", "The visitor opened the chat; nothing is stored.")
                .response::<SessionResponse>(200),
        ),
        Endpoint::at("/webchat/init").post(
            widget::init,
            described("initWidget", "The visitor said who they are: it is stored with their next message.")
                .response::<WidgetInitResponse>(200),
        ),
        Endpoint::at("/webchat/messages").get(
            history::read,
            Operation::new("readWidgetMessages", "The same as `readMessages`.", "widget")
                .security(EVERYBODY)
                .query::<HistoryQuery>()
                .response::<HistoryResponse>(200)
                .errors(&[CALLER, STORE].concat())
                .errors(&[ErrorCode::OriginNotAllowed, ErrorCode::SessionNotFound, ErrorCode::UserNotFound]),
        ),
    ]
}

fn service_endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/healthz").get(
            health::alive,
            Operation::new("isAlive", "Answers as long as the process does.", "service")
                .response::<HealthResponse>(200),
        ),
        Endpoint::at("/readyz").get(
            health::ready,
            Operation::new("isReady", "Tells whether the service takes requests, or why not.", "service")
                .response::<HealthResponse>(200)
                .response::<UnavailableResponse>(503),
        ),
        Endpoint::at("/openapi.json")
            .get(describe, Operation::new("describe", "This document.", "service").response::<Value>(200)),
    ]
}

/// The document as it is sent. Anybody may ask for it as often as they like, so it is made once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());

async fn describe() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT.clone())
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound)
}

#[cfg(test)]
mod tests;
