//! Messages as clients write and read them, over HTTP and over sockets.

use amoiq_actors::sessions::{ChatMessage, MessagePage};
use amoiq_events::{
    ClientMessageId, ConversationId, MessageId, MessageText, SessionId, ShortText, TenantId, Timestamp,
    UserId,
    session::{MessageSender, SessionCaller},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    field::{ClientTime, Field, JsonObject, Label, TruthyValue},
    schema::{IdSchema, SenderSchema, TimestampSchema},
};

/// Who reads a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever a session's id was given to.
    Visitor,
    /// Agents, admins, the tenant's servers and bots.
    Staff,
}

impl Audience {
    /// What a caller is.
    #[must_use]
    pub fn of(caller: &SessionCaller) -> Self {
        match caller {
            SessionCaller::Anonymous | SessionCaller::Verified(_) => Self::Visitor,
            SessionCaller::Staff => Self::Staff,
        }
    }
}

/// A message that a client sends. Who sends it follows from the credential, never from the request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["text"]))]
pub struct SendMessageRequest {
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
    /// The text, 1 to `limits.text_characters` characters of which at least one is visible.
    pub text: Field<String>,
    /// The session. Without one over HTTP a new session starts.
    pub session_id: Field<SessionId>,
    /// The client's own id of the message: a repeat with the same id is answered like the first and not stored.
    pub client_message_id: Field<ClientMessageId>,
    /// Another name of `clientMessageId`.
    #[serde(rename = "temp_id")]
    pub temp_id: Field<ClientMessageId>,
    /// The header of this name, where the body names no id.
    #[serde(rename = "Idempotency-Key")]
    #[schemars(skip)]
    pub idempotency_key: Field<ClientMessageId>,
    /// The user that the visitor claims to be.
    pub user_id: Field<UserId>,
    /// What the visitor says about themselves, at most `limits.user_info_bytes` of JSON.
    pub user_info: Field<JsonObject>,
    /// Identifies the browser. It is stored for agents and authorises nothing.
    pub fingerprint: Field<Label>,
    /// When the client sent it, by its own clock.
    pub timestamp: Field<ClientTime>,
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
    /// The name to show; ignored unless a bot or staff sends the message.
    pub sender_name: Field<ShortText>,
    /// The agent who writes; ignored unless a secret key sends the message.
    pub sender_id: Field<UserId>,
    /// Not supported: everybody in the session would read the message.
    pub private: Field<TruthyValue>,
    /// Not supported: everybody in the session would read the message.
    pub internal: Field<TruthyValue>,
    /// Not supported: the message would be sent without them.
    pub attachments: Field<TruthyValue>,
}

/// A message is stored, or was before.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageResponse {
    /// Always true.
    pub success: bool,
    /// The id of the message.
    #[schemars(with = "IdSchema")]
    pub message_id: MessageId,
    /// The session that it is in.
    #[schemars(with = "IdSchema")]
    pub session_id: SessionId,
    /// Whether it was stored before, under the same client id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// Which messages to read, as the query of `GET /api/chat/messages`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HistoryQuery {
    /// The session.
    pub session_id: Field<SessionId>,
    /// The session by its conversation, in place of `sessionId`.
    pub conversation_id: Field<ConversationId>,
    /// The user, for staff and for the verified user: the messages of all their sessions.
    pub user_id: Field<UserId>,
    /// The most messages, 1 to 500; 100 unless given.
    pub limit: Field<u32>,
    /// The `nextCursor` of an answer: the page before it.
    pub cursor: Field<String>,
    /// Messages before this `seq` of the session.
    pub before: Field<u32>,
    /// Messages after this `seq` of the session.
    pub after: Field<u32>,
}

/// A page of messages, in the order in which they were sent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryResponse {
    /// The messages.
    pub messages: Vec<MessageResponse>,
    /// Whether there are more in the direction that was read.
    pub has_more: bool,
    /// Reads the next older page.
    pub next_cursor: Option<String>,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePlace {
    /// The session.
    pub session: SessionId,
    /// Its conversation; `None` where an older event does not tell.
    pub conversation: Option<ConversationId>,
}

impl MessagePlace {
    /// Where the messages of a page are.
    #[must_use]
    pub fn of_page(session: &SessionId, page: &MessagePage) -> Self {
        Self { session: session.clone(), conversation: page.conversation.map(|conversation| conversation.id) }
    }
}

/// A message. Two generations of the widget read it: `message_id`, `message_text`, `sender_type`, `sender_name`, `created_at` and
/// `conversation_id` are the later one's names for what is beside them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageResponse {
    /// Its id.
    #[schemars(with = "IdSchema")]
    id: MessageId,
    /// The same.
    #[serde(rename = "message_id")]
    #[schemars(with = "IdSchema")]
    message_id: MessageId,
    /// Its text, unchanged to the byte.
    #[schemars(with = "String")]
    text: MessageText,
    /// The same.
    #[serde(rename = "message_text")]
    #[schemars(with = "String")]
    message_text: MessageText,
    /// Who sent it.
    #[schemars(with = "SenderSchema")]
    sender: MessageSender,
    /// The same.
    #[serde(rename = "sender_type")]
    #[schemars(with = "SenderSchema")]
    sender_type: MessageSender,
    /// When it was stored.
    #[schemars(with = "TimestampSchema")]
    timestamp: Timestamp,
    /// The same.
    #[serde(rename = "created_at")]
    #[schemars(with = "TimestampSchema")]
    created_at: Timestamp,
    /// The session that it is in.
    #[schemars(with = "IdSchema")]
    session_id: SessionId,
    /// The session's conversation. Absent where an older event does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IdSchema>")]
    conversation_id: Option<ConversationId>,
    /// The same.
    #[serde(rename = "conversation_id", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IdSchema>")]
    widget_conversation_id: Option<ConversationId>,
    /// The session's user; `anonymous-` and the session where there is none.
    user_id: String,
    /// For staff: whether a secret key vouched for the user. Absent where an older event does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    /// For staff: who the visitor claims to be, where that name is a verified user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IdSchema>")]
    claimed_user_id: Option<UserId>,
    /// The tenant, in events only: a reader of history has named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IdSchema>")]
    tenant_id: Option<TenantId>,
    /// The number of the message in its session, from 1.
    seq: u32,
    /// Always `delivered`: the widget shows its tick.
    delivery_status: &'static str,
    /// The name of the agent or bot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    sender_name: Option<ShortText>,
    /// The same.
    #[serde(rename = "sender_name", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    widget_sender_name: Option<ShortText>,
    /// The id that the client gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<String>,
    /// The same.
    #[serde(rename = "temp_id", skip_serializing_if = "Option::is_none")]
    temp_id: Option<String>,
    /// When the client sent it, by its own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    client_timestamp: Option<ShortText>,
}

impl MessageResponse {
    /// A message of a session, as an audience is shown it. A visitor is not shown the client ids of others: the
    /// same id may be that of a message of theirs.
    #[must_use]
    pub fn of(message: &ChatMessage, place: &MessagePlace, audience: Audience) -> Self {
        let MessagePlace { session, conversation } = place;
        let is_for_staff = audience == Audience::Staff;
        let is_shown = is_for_staff || message.sender == MessageSender::User;
        // Whoever has no name is nobody for whom somebody could vouch.
        let verified = message.verified.or(message.user_id.is_none().then_some(false));
        let client_id = message.client_message_id.as_ref().filter(|_| is_shown).map(ToString::to_string);
        Self {
            id: message.id,
            message_id: message.id,
            text: message.text.clone(),
            message_text: message.text.clone(),
            sender: message.sender,
            sender_type: message.sender,
            timestamp: message.timestamp,
            created_at: message.timestamp,
            session_id: session.clone(),
            conversation_id: *conversation,
            widget_conversation_id: *conversation,
            user_id: match &message.user_id {
                Some(user) => user.to_string(),
                None => UserId::anonymous(session),
            },
            verified: verified.filter(|_| is_for_staff),
            claimed_user_id: message.claimed_user_id.clone().filter(|_| is_for_staff),
            tenant_id: None,
            seq: message.seq,
            delivery_status: "delivered",
            sender_name: message.sender_name.clone(),
            widget_sender_name: message.sender_name.clone(),
            client_message_id: client_id.clone(),
            temp_id: client_id,
            client_timestamp: message.client_timestamp.clone(),
        }
    }

    /// Its number in the session.
    #[must_use]
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// The same with its tenant.
    #[must_use]
    pub fn in_tenant(self, tenant: &TenantId) -> Self {
        Self { tenant_id: Some(tenant.clone()), ..self }
    }
}
