//! Takes messages in, for HTTP and for sockets: it checks the fields, adds what follows from the caller's credential
//! (the sender, the author and the name to show), and hands the message to its session.

use amoiq_actors::sessions::{SentMessage, SessionDirectory};
use amoiq_events::{
    Ambient, MessageText, SessionId, ShortText, UserId,
    event::EventCause,
    session::{AgentAuthor, SendMessage, SessionCaller, VisitedPage},
};

use super::{
    auth::{CallerRole, Principal},
    visitor_notes::VisitorNotes,
};
use crate::api::{
    field::{Field, Validation, values::Label},
    messages::{SendMessageRequest, SendMessageResponse},
    online::OnlineDirectory,
    problem::{Problem, in_time},
};

const EVERYBODY_READS: &str = "is not supported: everybody in the session would read the message";

/// The limits of a message.
#[derive(Debug, Clone, Copy)]
pub struct MessageLimits {
    /// `limits.text_characters`
    pub text_characters: usize,
    /// `limits.user_info_bytes`
    pub user_info_bytes: usize,
}

/// Takes messages in. Cheap to clone.
#[derive(Clone)]
pub struct MessageIntake {
    /// The limits of a message.
    pub limits: MessageLimits,
    /// Gives each message its id, and a session that nobody named its own.
    pub ambient: Ambient,
    /// The sessions.
    pub directory: SessionDirectory,
    /// Told of each message: a visitor who writes is listed from then on.
    pub online: OnlineDirectory,
    /// What pages said of visitors before they wrote.
    pub notes: VisitorNotes,
}

/// A message that has not been sent yet.
#[derive(Debug)]
pub struct MessageDraft {
    /// The session that it names.
    pub session: Option<SessionId>,
    /// The message.
    pub message: SendMessage,
}

impl MessageIntake {
    /// Checks a message of a caller. `validation` has what is already known to be wrong with the request.
    ///
    /// # Errors
    /// [`Problem::Validation`] with everything that is wrong.
    pub fn read(
        &self,
        request: SendMessageRequest,
        principal: &Principal,
        mut validation: Validation,
    ) -> Result<MessageDraft, Problem> {
        let Self { limits, ambient, .. } = self;
        let session = validation.optional("sessionId", request.session_id);
        let parse_text = |text: String| MessageText::parse(&text, limits.text_characters);
        let text = validation.parsed("text", request.text, parse_text);
        let text = validation.present("text", text);
        let client_ids = [
            validation.optional("clientMessageId", request.client_message_id),
            validation.optional("temp_id", request.temp_id),
            validation.optional("Idempotency-Key", request.idempotency_key),
        ];
        let user_id = validation.optional("userId", request.user_id);
        let user_info =
            validation.parsed("userInfo", request.user_info, |info| info.within(limits.user_info_bytes));
        let fingerprint = label(&mut validation, "fingerprint", request.fingerprint);
        let client_timestamp = validation.optional("timestamp", request.timestamp).map(|time| time.0);
        let page = VisitedPage {
            domain: validation.optional("domain", request.domain),
            origin: validation.optional("origin", request.origin),
            url: validation.optional("url", request.url),
            referrer: validation.optional("referrer", request.referrer),
            site_id: label(&mut validation, "siteId", request.site_id),
        };
        let sender_name = sender_name(&principal.role, &mut validation, request.sender_name);
        let author = author(&principal.role, &mut validation, request.sender_id);
        let unsupported = [
            ("private", request.private, EVERYBODY_READS),
            ("internal", request.internal, EVERYBODY_READS),
            ("attachments", request.attachments, "are not supported: the message would be sent without them"),
        ];
        for (name, field, reason) in unsupported {
            if validation.optional(name, field).is_some() {
                validation.refuse(name, reason);
            }
        }
        validation.finish()?;
        let message = SendMessage {
            message_id: ambient.message_id(),
            caller: principal.caller(),
            sender: principal.sender(),
            author,
            text: text.ok_or(Problem::Internal)?,
            sender_name,
            client_message_id: client_ids.into_iter().flatten().next(),
            client_timestamp,
            user_id,
            is_taken: false,
            user_info,
            fingerprint,
            page,
            conversation_id: ambient.event_id().into(),
        };
        Ok(MessageDraft { session, message })
    }

    /// Sends a message to its session and waits until it is on disk.
    ///
    /// # Errors
    /// When the session refuses it, or the store does not take it in time.
    pub async fn send(
        &self,
        principal: &Principal,
        session: &SessionId,
        mut message: SendMessage,
        cause: EventCause,
    ) -> Result<SentMessage, Problem> {
        let tenant = &principal.tenant_id;
        // Anybody with the session's id can have said it, so it is nothing of a verified user.
        let is_noted = principal.is_visitor() && principal.caller() == SessionCaller::Anonymous;
        let noted = if is_noted { self.notes.complete(tenant, session, &mut message) } else { None };
        let sent = in_time(self.directory.send(tenant, session, message, cause)).await;
        if let (Some(note), Err(_) | Ok(SentMessage::Duplicate(_))) = (noted, &sent) {
            self.notes.give_back(tenant, session, note);
        }
        let sent = sent?;
        if let SentMessage::Stored(stored) = &sent {
            self.online.stored(tenant, session, stored);
        }
        Ok(sent)
    }
}

/// The answer to whoever sent a message.
#[must_use]
pub fn response(sent: &SentMessage, session_id: SessionId) -> SendMessageResponse {
    let (message_id, duplicate) = match sent {
        SentMessage::Stored(stored) => (stored.id, false),
        SentMessage::Duplicate(first) => (*first, true),
    };
    SendMessageResponse { success: true, message_id, session_id, duplicate }
}

fn label(validation: &mut Validation, name: &'static str, field: Field<Label>) -> Option<ShortText> {
    validation.optional(name, field).map(|label| label.0)
}

/// The name to show. Without one in the message it is the token's.
fn sender_name(role: &CallerRole, validation: &mut Validation, field: Field<ShortText>) -> Option<ShortText> {
    match role {
        CallerRole::Staff { name, .. } => {
            let named = validation.optional("senderName", field);
            named.or_else(|| name.as_deref().and_then(ShortText::cut))
        }
        CallerRole::Bot => validation.optional("senderName", field),
        CallerRole::WidgetKey | CallerRole::Visitor { .. } => None,
    }
}

/// The agent who writes. A secret key writes for the one it names as `senderId`.
fn author(role: &CallerRole, validation: &mut Validation, sender_id: Field<UserId>) -> Option<AgentAuthor> {
    match role {
        CallerRole::Staff { user: Some(user), .. } => Some(AgentAuthor::Token(user.clone())),
        CallerRole::Staff { user: None, .. } => {
            let named = validation.optional("senderId", sender_id);
            Some(named.map_or(AgentAuthor::Key, AgentAuthor::Sender))
        }
        CallerRole::Bot | CallerRole::WidgetKey | CallerRole::Visitor { .. } => None,
    }
}
