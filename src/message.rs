//! A message as clients read it, in history and in events.

use amoiq_actors::Message;
use amoiq_events::{
    MessageId, MessageText, SessionId, ShortText, TenantId, Timestamp, UserId, session::Sender,
};
use serde::Serialize;

/// A message as clients read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    id: MessageId,
    text: MessageText,
    sender: Sender,
    timestamp: Timestamp,
    session_id: SessionId,
    user_id: String,
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
    /// A message of a session.
    #[must_use]
    pub fn of(message: &Message, session: &SessionId) -> Self {
        let client_id = message.client_message_id.as_ref().map(ToString::to_string);
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
