//! A message as a client wrote it: its fields, checked, for whoever takes it over HTTP or a socket.

use amoiq_events::{
    Ambient, ClientMessageId, MessageText, SessionId, ShortText, UserId,
    session::{AgentAuthor, SendMessage, VisitedPage},
};

use crate::{
    access::auth::{Principal, Role},
    api::problem::Problem,
    http::fields::Fields,
};

/// What a message may be.
#[derive(Debug, Clone, Copy)]
pub struct MessageLimits {
    /// `limits.text_characters`
    pub text_characters: usize,
    /// `limits.user_info_bytes`
    pub user_info_bytes: usize,
}

/// Reads messages.
#[derive(Debug, Clone)]
pub struct Drafts {
    /// What a message may be.
    pub limits: MessageLimits,
    /// For its id.
    pub ambient: Ambient,
}

/// A message that has not been sent yet.
#[derive(Debug)]
pub struct Draft {
    /// The session that it names.
    pub session: Option<SessionId>,
    /// What it says.
    pub message: SendMessage,
}

impl Drafts {
    /// Reads a message from the fields of a body or of an event. `sender` and the name to show follow from the
    /// credential.
    ///
    /// # Errors
    /// [`Problem::Validation`] with everything that is wrong.
    pub fn read(&self, mut fields: Fields, principal: &Principal) -> Result<Draft, Problem> {
        let Self { limits, ambient } = self;
        let session = fields.id("sessionId", SessionId::parse);
        let text = fields.parsed("text", |text| MessageText::parse(text, limits.text_characters));
        let has_text_error = text.is_none();
        let client_message_id =
            fields.first_id(&["clientMessageId", "temp_id", "Idempotency-Key"], ClientMessageId::parse);
        let user_id = fields.id("userId", UserId::parse);
        let user_info = fields.object("userInfo", limits.user_info_bytes);
        let fingerprint = fields.label("fingerprint");
        let client_timestamp = fields.moment("timestamp");
        let page = VisitedPage {
            domain: fields.cut("domain"),
            origin: fields.cut("origin"),
            url: fields.cut("url"),
            referrer: fields.cut("referrer"),
            site_id: fields.label("siteId"),
        };
        let sender_name = match &principal.role {
            Role::Staff { name, .. } => {
                fields.cut("senderName").or_else(|| name.as_deref().and_then(ShortText::cut))
            }
            Role::Bot => fields.cut("senderName"),
            Role::WidgetKey | Role::Visitor { .. } => None,
        };
        let author = author_of(&principal.role, &mut fields);
        if has_text_error {
            fields.refuse("text", "is required");
        }
        fields.unsupported("private", "is not supported: everybody in the session would read the message");
        fields.unsupported("internal", "is not supported: everybody in the session would read the message");
        fields.unsupported("attachments", "are not supported: the message would be sent without them");
        fields.finish()?;
        let message = SendMessage {
            message_id: ambient.message_id(),
            caller: principal.caller(),
            sender: principal.sender(),
            author,
            text: text.ok_or(Problem::Internal)?,
            sender_name,
            client_message_id,
            client_timestamp,
            user_id,
            is_taken: false,
            user_info,
            fingerprint,
            page,
        };
        Ok(Draft { session, message })
    }
}

/// Which agent writes. A secret key writes for whom it names as `senderId`.
fn author_of(role: &Role, fields: &mut Fields) -> Option<AgentAuthor> {
    match role {
        Role::Staff { user: Some(user), .. } => Some(AgentAuthor::Token(user.clone())),
        Role::Staff { user: None, .. } => {
            Some(fields.id("senderId", UserId::parse).map_or(AgentAuthor::Key, AgentAuthor::Sender))
        }
        Role::Bot | Role::WidgetKey | Role::Visitor { .. } => None,
    }
}
