//! What sockets are told of a session's conversation, and how they name it.

use amoiq_events::{ConversationId, SessionId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::field::Field;

/// Names a conversation: `join:conversation` over sockets.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JoinConversationRequest {
    /// The tenant; it has to be the socket's.
    pub tenant_id: Field<TenantId>,
    /// The conversation.
    pub conversation_id: Field<ConversationId>,
}

/// What `joined` and every `conversation:…` event carry.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationEvent<'a> {
    /// The conversation, under the name that the widget reads.
    #[serde(rename = "conversation_id")]
    widget_conversation_id: ConversationId,
    /// The same.
    conversation_id: ConversationId,
    /// Its session.
    session_id: &'a SessionId,
    /// When it happened.
    at: Timestamp,
    /// For staff: who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

impl<'a> ConversationEvent<'a> {
    /// Something about a session's conversation.
    #[must_use]
    pub fn new(conversation: ConversationId, session_id: &'a SessionId, at: Timestamp) -> Self {
        let (widget_conversation_id, conversation_id) = (conversation, conversation);
        Self { widget_conversation_id, conversation_id, session_id, at, by: None }
    }

    /// The same with who did it.
    #[must_use]
    pub fn by(self, actor: &'a str) -> Self {
        Self { by: Some(actor), ..self }
    }
}
