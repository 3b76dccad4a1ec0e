//! What can happen in a session. These are the payloads as they are stored: a field may be added, with a default; none is
//! renamed or removed (`codec` lifts events that changed more than that).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ClientMessageId, ConversationId, MessageId, MessageText, ShortText, UserId};

/// Who wrote a message, as every reader sees it. It follows from the credential, never from the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageSender {
    /// The visitor.
    User,
    /// A bot of the tenant.
    Bot,
    /// A person of the tenant, or the tenant's server.
    Agent,
}

/// Which of a tenant's agents wrote a message. It decides whose `clientMessageId` the message's is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentAuthor {
    /// The holder of an agent's or admin's token: its `sub`.
    Token(UserId),
    /// Somebody for whom a secret key wrote, as named by `senderId`.
    Sender(UserId),
    /// A secret key that named nobody. All of a tenant's secret keys are one author.
    Key,
}

/// Where the visitor is, by their own word.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VisitedPage {
    /// The site's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<ShortText>,
    /// The site's origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<ShortText>,
    /// The page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<ShortText>,
    /// Where the visitor came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrer: Option<ShortText>,
    /// The customer's name for the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_id: Option<ShortText>,
}

impl VisitedPage {
    /// The bytes of its texts.
    #[must_use]
    pub fn texts_bytes(&self) -> usize {
        let texts = [&self.domain, &self.origin, &self.url, &self.referrer, &self.site_id];
        texts.into_iter().flatten().map(|text| text.as_str().len()).sum()
    }
}

/// `session.started`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStarted {}

/// `visitor.identified`: what is known of the visitor from here on. What is absent did not change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VisitorIdentified {
    /// Who they say they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Whether a secret key vouched for `user_id`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verified: bool,
    /// Who they say they are, if that is another user's name, for whom a secret key vouched. They are no longer who they
    /// were before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_user_id: Option<UserId>,
    /// Name, e-mail, phone or whatever else the page told: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<Box<RawValue>>,
    /// For agents to see. It authorises nothing: two visitors with the same phone share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<ShortText>,
}

impl PartialEq for VisitorIdentified {
    fn eq(&self, other: &Self) -> bool {
        let info = |visitor: &Self| visitor.user_info.as_deref().map(|info| info.get().to_owned());
        (&self.user_id, self.verified, &self.claimed_user_id, &self.fingerprint)
            == (&other.user_id, other.verified, &other.claimed_user_id, &other.fingerprint)
            && info(self) == info(other)
    }
}

impl Eq for VisitorIdentified {}

/// `message.created`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageCreated {
    /// The message's own id.
    pub message_id: MessageId,
    /// Its place among the session's messages: 1, 2, 3 …
    pub seq: u32,
    /// As sent.
    pub text: MessageText,
    /// Who wrote it.
    pub sender: MessageSender,
    /// Which agent wrote it. Absent for visitors and bots, who need none, and in
    /// events from before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<AgentAuthor>,
    /// The visitor of the conversation; absent while they are anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Whether a secret key vouched for `user_id`. Absent if that is absent, and in events from before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// Who the visitor says they are, if that is another user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_user_id: Option<UserId>,
    /// An agent's or bot's name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<ShortText>,
    /// The client's own id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// The client's own time. It decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_timestamp: Option<ShortText>,
    /// Where the visitor was, if that changed since the previous message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<VisitedPage>,
    /// The session's conversation. Absent in events from before it was recorded: then `conversation.started` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
}

/// `conversation.started`. There is one in a session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConversationStarted {
    /// The conversation. It is not stored: the id of the event says it.
    #[serde(skip)]
    pub conversation_id: ConversationId,
}

/// Why a conversation was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConversationCloseReason {
    /// An agent closed it.
    Agent,
    /// Nobody wrote for `conversation.close_after_hours`.
    Idle,
}

/// `conversation.closed`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationClosed {
    /// Why.
    pub reason: ConversationCloseReason,
    /// Which; as in [`MessageCreated`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
}

/// `conversation.reopened`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationReopened {
    /// Which; as in [`MessageCreated`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
}

/// An event of a `session:` stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// `session.started`
    Started(SessionStarted),
    /// `visitor.identified`
    VisitorIdentified(VisitorIdentified),
    /// `conversation.started`
    ConversationStarted(ConversationStarted),
    /// `message.created`
    MessageCreated(MessageCreated),
    /// `conversation.closed`
    ConversationClosed(ConversationClosed),
    /// `conversation.reopened`
    ConversationReopened(ConversationReopened),
}
