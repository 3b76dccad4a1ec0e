//! A session: one visitor on one tenant's site, and the conversation that agents and bots join.
//!
//! The session's id is a capability: whoever presents it may read and write, until a verified user has
//! used the session; from then on it belongs to that user alone ([`Session::opens_to`]).
//! A closed conversation never refuses a message: the message reopens it.

mod client_ids;
mod event;
mod visitor_profile;

use serde_json::value::RawValue;

pub use self::event::{
    AgentAuthor, ConversationCloseReason, ConversationClosed, ConversationReopened, ConversationStarted,
    MessageCreated, MessageSender, SessionEvent, SessionStarted, VisitedPage, VisitorIdentified,
};
use self::{
    client_ids::{ClientIds, EarlierUse, MessageAuthor},
    visitor_profile::VisitorProfile,
};
use crate::{ClientMessageId, ConversationId, MessageId, MessageText, ShortText, UserId, Version};

/// Whether agents have work with a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConversationState {
    /// No message yet.
    #[default]
    None,
    /// Waiting for the next message.
    Open,
    /// Done, until the next message.
    Closed,
}

/// What is known of a session: the fold of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    version: Version,
    conversation: ConversationState,
    conversation_id: Option<ConversationId>,
    last_seq: u32,
    visitor: VisitorProfile,
    page: VisitedPage,
    client_ids: ClientIds,
    /// From message `seq` on, versions are ahead of `seq` by `offset`: there is a step wherever other events are
    /// between messages. Finds a message's version without reading.
    offsets: Vec<(u32, u64)>,
}

/// How a message names its visitor; empty while they are anonymous.
#[derive(Default)]
struct VisitorName {
    user_id: Option<UserId>,
    verified: Option<bool>,
    claimed: Option<UserId>,
}

/// Who wants to use a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCaller {
    /// A page, or a token without a verified user: it has only the session's id.
    Anonymous,
    /// A user whom a secret key vouched for.
    Verified(UserId),
    /// An agent, a bot or the tenant's server.
    Staff,
}

/// Adds a message.
#[derive(Debug, Clone)]
pub struct SendMessage {
    /// Made by the caller, so that deciding stays pure.
    pub message_id: MessageId,
    /// Who sends it.
    pub caller: SessionCaller,
    /// In which role.
    pub sender: MessageSender,
    /// Which agent, if an agent sends it.
    pub author: Option<AgentAuthor>,
    /// What they wrote.
    pub text: MessageText,
    /// The name to show.
    pub sender_name: Option<ShortText>,
    /// By which a repeat is recognised.
    pub client_message_id: Option<ClientMessageId>,
    /// The client's own time.
    pub client_timestamp: Option<ShortText>,
    /// Who the visitor says they are. [`SessionCaller::Verified`] takes precedence.
    pub user_id: Option<UserId>,
    /// Whether [`Session::claim`] is the name of another user, for whom a secret key vouched.
    pub is_taken: bool,
    /// A JSON object.
    pub user_info: Option<Box<RawValue>>,
    /// For agents to see.
    pub fingerprint: Option<ShortText>,
    /// Where the visitor is.
    pub page: VisitedPage,
    /// The id of the conversation, if this is its first message. It opens the session, so it is made apart from the message's own,
    /// which is no secret.
    pub conversation_id: ConversationId,
}

/// What can be asked of a session.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    /// Adds a message, once for each author's `clientMessageId`.
    SendMessage(Box<SendMessage>),
    /// Ends the conversation until the next message. Closing a closed one does nothing.
    CloseConversation(ConversationCloseReason),
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    /// The author's message with this client id and text is in the session already: the answer to a repeat.
    #[error("the message was sent before, as {0}")]
    AlreadySent(MessageId),
    /// The author used this client id for another text.
    #[error("the client id was used before for another text, in {0}")]
    OtherText(MessageId),
    /// The session holds as many events as it may.
    #[error("the session has reached its limit of {limit} events")]
    Full {
        /// `limits.events_per_session`
        limit: u64,
    },
    /// The session is a verified user's.
    #[error("the session belongs to a verified user")]
    NotYours,
    /// There is no such session.
    #[error("the session does not exist")]
    NotFound,
}

impl Session {
    /// How many events it has.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether anything happened in it yet.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.version > Version::NONE
    }

    /// The `seq` of its newest message; 0 when there is none.
    #[must_use]
    pub fn last_seq(&self) -> u32 {
        self.last_seq
    }

    /// Whether its conversation is open.
    #[must_use]
    pub fn conversation(&self) -> ConversationState {
        self.conversation
    }

    /// Its conversation, once there is a message.
    #[must_use]
    pub fn conversation_id(&self) -> Option<ConversationId> {
        self.conversation_id
    }

    /// Whether the session's id opens it to this caller.
    #[must_use]
    pub fn opens_to(&self, caller: &SessionCaller) -> bool {
        match (&self.visitor.owner, caller) {
            (None, _) | (_, SessionCaller::Staff) => true,
            (Some(owner), SessionCaller::Verified(user)) => owner == user,
            (Some(_), SessionCaller::Anonymous) => false,
        }
    }

    /// The version of message `seq`; `None` when there is no such message.
    #[must_use]
    pub fn version_of(&self, seq: u32) -> Option<Version> {
        if seq == 0 || seq > self.last_seq {
            return None;
        }
        let step = self.offsets.partition_point(|(from, _)| *from <= seq).checked_sub(1)?;
        let (_, offset) = self.offsets.get(step)?;
        Some(Version::from_u64(u64::from(seq) + offset))
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.client_ids.size_bytes()
            + self.offsets.capacity() * size_of::<(u32, u64)>()
            + self.visitor.texts_bytes()
            + self.page.texts_bytes()
    }

    /// Decides which events follow from a command. `limit` is `limits.events_per_session`.
    ///
    /// # Errors
    /// A [`SessionRefusal`]; then nothing happens.
    pub fn decide(&self, command: &SessionCommand, limit: u64) -> Result<Vec<SessionEvent>, SessionRefusal> {
        let events = match command {
            SessionCommand::SendMessage(message) => self.send(message)?,
            // One event beyond the limit: a full session can be closed, so that it does not stay for ever. It takes
            // no message that would open it again.
            SessionCommand::CloseConversation(reason) => return self.close(*reason),
        };
        if self.version.plus(events.len() as u64).as_u64() > limit {
            return Err(SessionRefusal::Full { limit });
        }
        Ok(events)
    }

    fn send(&self, message: &SendMessage) -> Result<Vec<SessionEvent>, SessionRefusal> {
        if !self.opens_to(&message.caller) {
            return Err(SessionRefusal::NotYours);
        }
        match self.earlier(message) {
            Some(EarlierUse::Same(first)) => return Err(SessionRefusal::AlreadySent(first)),
            Some(EarlierUse::Other(first)) => return Err(SessionRefusal::OtherText(first)),
            None => {}
        }
        let mut events = Vec::with_capacity(4);
        if !self.exists() {
            events.push(SessionEvent::Started(SessionStarted {}));
        }
        events.extend(self.identify(message).map(SessionEvent::VisitorIdentified));
        match self.conversation {
            ConversationState::None => {
                let started = ConversationStarted { conversation_id: message.conversation_id };
                events.push(SessionEvent::ConversationStarted(started));
            }
            ConversationState::Closed => {
                let reopened = ConversationReopened { conversation_id: self.conversation_id };
                events.push(SessionEvent::ConversationReopened(reopened));
            }
            ConversationState::Open => {}
        }
        events.push(SessionEvent::MessageCreated(self.created(message)));
        Ok(events)
    }

    fn close(&self, reason: ConversationCloseReason) -> Result<Vec<SessionEvent>, SessionRefusal> {
        match self.conversation {
            _ if !self.exists() => Err(SessionRefusal::NotFound),
            ConversationState::Open => {
                let closed = ConversationClosed { reason, conversation_id: self.conversation_id };
                Ok(vec![SessionEvent::ConversationClosed(closed)])
            }
            ConversationState::None | ConversationState::Closed => Ok(Vec::new()),
        }
    }

    /// The name that the message would give its visitor without any proof.
    #[must_use]
    pub fn claim<'a>(&'a self, message: &'a SendMessage) -> Option<&'a UserId> {
        match &message.caller {
            SessionCaller::Verified(_) => None,
            SessionCaller::Anonymous => message.user_id.as_ref(),
            SessionCaller::Staff if self.visitor.owner.is_some() => None,
            SessionCaller::Staff => self.visitor.user_id.as_ref(),
        }
    }

    fn earlier(&self, message: &SendMessage) -> Option<EarlierUse> {
        let author = MessageAuthor { sender: message.sender, agent: message.author.as_ref() };
        self.client_ids.find(author, message.client_message_id.as_ref()?, &message.text)
    }

    /// What the message says about the visitor that was not known. Staff say nothing about them.
    fn identify(&self, message: &SendMessage) -> Option<VisitorIdentified> {
        if message.caller == SessionCaller::Staff {
            return None;
        }
        let known = &self.visitor;
        let VisitorName { user_id, verified, claimed } = self.name(message);
        let verified = verified == Some(true);
        let is_proof = verified && known.owner.is_none();
        let user_id = user_id.filter(|user| is_proof || known.user_id.as_ref() != Some(user));
        let claimed_user_id = claimed.filter(|user| known.claimed.as_ref() != Some(user));
        let user_info =
            message.user_info.as_ref().filter(|info| known.user_info.as_deref() != Some(info.get()));
        let fingerprint =
            message.fingerprint.as_ref().filter(|print| known.fingerprint.as_ref() != Some(*print));
        let is_news = user_id.is_some() || claimed_user_id.is_some();
        (is_news || user_info.is_some() || fingerprint.is_some()).then(|| VisitorIdentified {
            verified: verified && user_id.is_some(),
            user_id,
            claimed_user_id,
            user_info: user_info.cloned(),
            fingerprint: fingerprint.cloned(),
        })
    }

    /// How a message names the visitor.
    fn name(&self, message: &SendMessage) -> VisitorName {
        let proven = match &message.caller {
            SessionCaller::Verified(user) => Some(user),
            SessionCaller::Staff => self.visitor.owner.as_ref(),
            SessionCaller::Anonymous => None,
        };
        if let Some(user) = proven {
            return VisitorName { user_id: Some(user.clone()), verified: Some(true), claimed: None };
        }
        match self.claim(message) {
            Some(user) if message.is_taken || user.is_anonymous() => {
                VisitorName { claimed: Some(user.clone()), ..VisitorName::default() }
            }
            Some(user) => VisitorName { user_id: Some(user.clone()), verified: Some(false), claimed: None },
            None => {
                let claimed = self.visitor.claimed.clone().filter(|_| message.caller == SessionCaller::Staff);
                VisitorName { claimed, ..VisitorName::default() }
            }
        }
    }

    fn created(&self, message: &SendMessage) -> MessageCreated {
        let VisitorName { user_id, verified, claimed } = self.name(message);
        let told = message.page != VisitedPage::default() && message.page != self.page;
        MessageCreated {
            message_id: message.message_id,
            seq: self.last_seq + 1,
            text: message.text.clone(),
            sender: message.sender,
            author: message.author.clone(),
            user_id,
            verified,
            claimed_user_id: claimed,
            sender_name: message.sender_name.clone(),
            client_message_id: message.client_message_id.clone(),
            client_timestamp: message.client_timestamp.clone(),
            page: told.then(|| message.page.clone()),
            conversation_id: self.conversation_id.or(Some(message.conversation_id)),
        }
    }

    /// Applies an event.
    pub fn apply(&mut self, event: &SessionEvent) {
        self.version = self.version.plus(1);
        match event {
            SessionEvent::Started(_) => {}
            SessionEvent::VisitorIdentified(visitor) => self.visitor.learn(visitor),
            SessionEvent::ConversationStarted(started) => {
                self.conversation = ConversationState::Open;
                self.conversation_id = Some(started.conversation_id);
            }
            SessionEvent::ConversationReopened(_) => self.conversation = ConversationState::Open,
            SessionEvent::ConversationClosed(_) => self.conversation = ConversationState::Closed,
            SessionEvent::MessageCreated(message) => self.add(message),
        }
    }

    fn add(&mut self, message: &MessageCreated) {
        self.last_seq = message.seq;
        if let Some(id) = &message.client_message_id {
            let author = MessageAuthor { sender: message.sender, agent: message.author.as_ref() };
            self.client_ids.note(author, id, message.message_id, &message.text);
        }
        if let Some(page) = &message.page {
            self.page.clone_from(page);
        }
        let offset = self.version.as_u64().saturating_sub(u64::from(message.seq));
        if self.offsets.last().is_none_or(|(_, last)| *last != offset) {
            self.offsets.push((message.seq, offset));
        }
    }
}

#[cfg(test)]
mod tests;
