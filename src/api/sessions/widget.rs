//! What the widget's present generation asks for beside messages: its session, its token for a socket, and its conversation.

use amoiq_events::{ConversationId, KeyId, SessionId, ShortText, TenantId, Timestamp, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    field::{Field, JsonObject, Label},
    schema::{IdSchema, TimestampSchema},
};

/// What a page says of itself and its visitor: `POST /webchat/session`, `/webchat/open` and `/webchat/init`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["sessionId"]))]
pub struct WidgetRequest {
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
    /// The client's own session.
    pub session_id: Field<SessionId>,
    /// Identifies the browser. It is stored for agents and authorises nothing.
    pub fingerprint: Field<Label>,
    /// The user that the visitor claims to be.
    pub user_id: Field<UserId>,
    /// What the visitor says about themselves, at most `limits.user_info_bytes` of JSON.
    pub user_info: Field<JsonObject>,
    /// The visitor's name, where `userInfo` has none.
    pub user_name: Field<ShortText>,
    /// The visitor's e-mail address, where `userInfo` has none.
    pub email: Field<ShortText>,
    /// The client's own name of the visitor; given back.
    pub visitor_id: Field<UserId>,
    /// The page's domain.
    pub domain: Field<ShortText>,
    /// The page's origin.
    pub origin: Field<ShortText>,
    /// The page's address.
    pub url: Field<ShortText>,
    /// The page before.
    pub referrer: Field<ShortText>,
    /// The customer's own id of the site.
    pub site_id: Field<Label>,
}

/// A page's session, and what it opens its socket with.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WidgetSessionResponse {
    /// Always true.
    pub success: bool,
    /// The session of the request.
    #[schemars(with = "IdSchema")]
    pub session_id: SessionId,
    /// A token that opens sockets of this session, and nothing else.
    pub ws_token: String,
    /// How long the token is good, in seconds.
    pub expires_in: u32,
    /// The origin to which the socket is opened.
    pub websocket_url: String,
}

/// What a page starts its chat with.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WidgetInitResponse {
    /// Always true.
    pub success: bool,
    /// The session of the request.
    #[schemars(with = "IdSchema")]
    pub session_id: SessionId,
    /// A token that opens sockets of this session, and nothing else.
    pub ws_token: String,
    /// How long the token is good, in seconds.
    pub expires_in: u32,
    /// The origin to which the socket is opened.
    pub ws_server_url: String,
    /// When the session's conversation was closed; `null` while it is open, and before there is one.
    #[schemars(with = "Option<TimestampSchema>")]
    pub closed_at: Option<Timestamp>,
    /// The session's conversation; `null` before its first message.
    #[schemars(with = "Option<IdSchema>")]
    pub conversation_id: Option<ConversationId>,
    /// The client's own name of the visitor, or the user id that is shown for them.
    pub visitor_id: String,
    /// The tenant.
    #[schemars(with = "IdSchema")]
    pub tenant_id: TenantId,
    /// The public id of the key.
    #[schemars(with = "IdSchema")]
    pub integration_id: KeyId,
    /// The customer's own id of the site, as the request said.
    #[schemars(with = "Option<String>")]
    pub site_id: Option<ShortText>,
}
