//! A message as clients read it, in history and in events.

use amoiq_actors::sessions::ChatMessage;
use amoiq_events::{
    MessageId, MessageText, SessionId, ShortText, TenantId, Timestamp, UserId,
    session::{MessageSender, SessionCaller},
};
use serde::Serialize;

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

/// A message as clients read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    id: MessageId,
    text: MessageText,
    sender: MessageSender,
    timestamp: Timestamp,
    session_id: SessionId,
    user_id: String,
    /// Whether a secret key vouched for the user; for staff, where the log says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    /// Who the visitor says they are, where that is another's name; for staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_user_id: Option<UserId>,
    /// In events; a reader of history has named the tenant itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    seq: u32,
    /// What is in the history is on disk: the widget shows its tick.
    delivery_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_name: Option<ShortText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<String>,
    #[serde(rename = "temp_id", skip_serializing_if = "Option::is_none")]
    temp_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_timestamp: Option<ShortText>,
}

impl MessageView {
    /// A message of a session, as an audience is shown it. A visitor is not shown the client ids of others: the
    /// same id may be that of a message of theirs.
    #[must_use]
    pub fn of(message: &ChatMessage, session: &SessionId, audience: Audience) -> Self {
        let is_for_staff = audience == Audience::Staff;
        let is_shown = is_for_staff || message.sender == MessageSender::User;
        // Whoever has no name is nobody for whom somebody could vouch.
        let verified = message.verified.or(message.user_id.is_none().then_some(false));
        let client_id = message.client_message_id.as_ref().filter(|_| is_shown).map(ToString::to_string);
        Self {
            id: message.id,
            text: message.text.clone(),
            sender: message.sender,
            timestamp: message.timestamp,
            session_id: session.clone(),
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
            client_message_id: client_id.clone(),
            temp_id: client_id,
            client_timestamp: message.client_timestamp.clone(),
        }
    }

    /// Its place in the session.
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
