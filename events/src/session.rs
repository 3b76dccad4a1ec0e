//! A session: one visitor on one tenant's site, and the conversation that agents and bots join.
//!
//! The session's id is a capability: who presents it may read and write, until a verified user has
//! used the session; from then on it is that user's alone ([`Session::opens_to`]).
//! A conversation that is closed never refuses a message: the message reopens it.

mod event;

use std::collections::HashMap;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

pub use self::event::{
    CloseReason, ConversationClosed, ConversationReopened, ConversationStarted, MessageCreated, Page, Sender,
    SessionEvent, SessionStarted, VisitorIdentified,
};
use crate::{ClientMessageId, MessageId, MessageText, ShortText, UserId, Version};

/// Whether agents have work with a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conversation {
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
    conversation: Conversation,
    last_seq: u32,
    visitor: Visitor,
    page: Page,
    /// Sixteen bytes of a hash instead of up to 256 of text: a session may hold 50,000 of them.
    client_ids: HashMap<[u8; 16], MessageId>,
    /// From message `seq` on, versions are ahead of `seq` by `offset`: a step wherever other events
    /// stand between messages. Finds a message's version without reading.
    offsets: Vec<(u32, u64)>,
}

/// The visitor as last identified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Visitor {
    user_id: Option<UserId>,
    /// The verified user who used the session first, and whose it is since.
    owner: Option<UserId>,
    user_info: Option<String>,
    fingerprint: Option<ShortText>,
}

/// Who wants to use a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A page, or a token without a verified user: the session's id is all it has.
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
    /// Who asks.
    pub caller: Caller,
    /// As what.
    pub sender: Sender,
    /// What they wrote.
    pub text: MessageText,
    /// Name to show.
    pub sender_name: Option<ShortText>,
    /// So that a repeat is recognised.
    pub client_message_id: Option<ClientMessageId>,
    /// The client's own time.
    pub client_timestamp: Option<ShortText>,
    /// Who the visitor says they are. [`Caller::Verified`] counts more.
    pub user_id: Option<UserId>,
    /// A JSON object.
    pub user_info: Option<Box<RawValue>>,
    /// For agents to see.
    pub fingerprint: Option<ShortText>,
    /// Where the visitor is.
    pub page: Page,
}

/// What can be asked of a session.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    /// Adds a message, once for each `clientMessageId`.
    SendMessage(Box<SendMessage>),
    /// Ends the conversation until the next message. Closing a closed one does nothing.
    CloseConversation(CloseReason),
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    /// A message with this client id is in the session already: the answer to a repeat.
    #[error("the message was sent before, as {0}")]
    AlreadySent(MessageId),
    /// The session took all the events it can.
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
    pub fn conversation(&self) -> Conversation {
        self.conversation
    }

    /// Whether the session's id opens it to this caller.
    #[must_use]
    pub fn opens_to(&self, caller: &Caller) -> bool {
        match (&self.visitor.owner, caller) {
            (None, _) | (_, Caller::Staff) => true,
            (Some(owner), Caller::Verified(user)) => owner == user,
            (Some(_), Caller::Anonymous) => false,
        }
    }

    /// The version at which message `seq` stands; nothing when there is no such message.
    #[must_use]
    pub fn version_of(&self, seq: u32) -> Option<Version> {
        if seq == 0 || seq > self.last_seq {
            return None;
        }
        let step = self.offsets.partition_point(|(from, _)| *from <= seq).checked_sub(1)?;
        let (_, offset) = self.offsets.get(step)?;
        Some(Version::from_u64(u64::from(seq) + offset))
    }

    /// What it takes in memory, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        const ENTRY_BYTES: usize = size_of::<([u8; 16], MessageId)>() + 1;
        size_of::<Self>()
            + self.client_ids.capacity() * ENTRY_BYTES * 8 / 7
            + self.offsets.capacity() * size_of::<(u32, u64)>()
            + self.visitor.texts_bytes()
            + self.page.texts_bytes()
    }

    /// What follows from a command. `limit` is `limits.events_per_session`.
    ///
    /// # Errors
    /// A [`SessionRefusal`]; nothing happened then.
    pub fn decide(&self, command: &SessionCommand, limit: u64) -> Result<Vec<SessionEvent>, SessionRefusal> {
        let events = match command {
            SessionCommand::SendMessage(message) => self.send(message)?,
            SessionCommand::CloseConversation(reason) => self.close(*reason)?,
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
        if let Some(first) = message.client_message_id.as_ref().and_then(|id| self.sent_as(id)) {
            return Err(SessionRefusal::AlreadySent(first));
        }
        let mut events = Vec::with_capacity(4);
        if !self.exists() {
            events.push(SessionEvent::Started(SessionStarted {}));
        }
        events.extend(self.identify(message).map(SessionEvent::VisitorIdentified));
        match self.conversation {
            Conversation::None => events.push(SessionEvent::ConversationStarted(ConversationStarted {})),
            Conversation::Closed => {
                events.push(SessionEvent::ConversationReopened(ConversationReopened {}));
            }
            Conversation::Open => {}
        }
        events.push(SessionEvent::MessageCreated(self.created(message)));
        Ok(events)
    }

    fn close(&self, reason: CloseReason) -> Result<Vec<SessionEvent>, SessionRefusal> {
        match self.conversation {
            _ if !self.exists() => Err(SessionRefusal::NotFound),
            Conversation::Open => Ok(vec![SessionEvent::ConversationClosed(ConversationClosed { reason })]),
            Conversation::None | Conversation::Closed => Ok(Vec::new()),
        }
    }

    fn sent_as(&self, id: &ClientMessageId) -> Option<MessageId> {
        self.client_ids.get(&client_id_hash(id)).copied()
    }

    /// What the message tells of the visitor that was not known. Staff tell nothing of them.
    fn identify(&self, message: &SendMessage) -> Option<VisitorIdentified> {
        let (claimed, verified) = match &message.caller {
            Caller::Staff => return None,
            Caller::Verified(user) => (Some(user), true),
            Caller::Anonymous => (message.user_id.as_ref(), false),
        };
        let known = &self.visitor;
        let proven = verified && known.owner.is_none();
        let user_id = claimed.filter(|user| proven || known.user_id.as_ref() != Some(*user));
        let user_info =
            message.user_info.as_ref().filter(|info| known.user_info.as_deref() != Some(info.get()));
        let fingerprint =
            message.fingerprint.as_ref().filter(|print| known.fingerprint.as_ref() != Some(*print));
        (user_id.is_some() || user_info.is_some() || fingerprint.is_some()).then(|| VisitorIdentified {
            user_id: user_id.cloned(),
            verified: verified && user_id.is_some(),
            user_info: user_info.cloned(),
            fingerprint: fingerprint.cloned(),
        })
    }

    fn created(&self, message: &SendMessage) -> MessageCreated {
        let user_id = match &message.caller {
            Caller::Staff => self.visitor.user_id.clone(),
            Caller::Verified(user) => Some(user.clone()),
            Caller::Anonymous => message.user_id.clone(),
        };
        let told = message.page != Page::default() && message.page != self.page;
        MessageCreated {
            message_id: message.message_id,
            seq: self.last_seq + 1,
            text: message.text.clone(),
            sender: message.sender,
            user_id,
            sender_name: message.sender_name.clone(),
            client_message_id: message.client_message_id.clone(),
            client_timestamp: message.client_timestamp.clone(),
            page: told.then(|| message.page.clone()),
        }
    }

    /// Takes in what happened.
    pub fn apply(&mut self, event: &SessionEvent) {
        self.version = self.version.plus(1);
        match event {
            SessionEvent::Started(_) => {}
            SessionEvent::VisitorIdentified(visitor) => self.visitor.learn(visitor),
            SessionEvent::ConversationStarted(_) | SessionEvent::ConversationReopened(_) => {
                self.conversation = Conversation::Open;
            }
            SessionEvent::ConversationClosed(_) => self.conversation = Conversation::Closed,
            SessionEvent::MessageCreated(message) => self.add(message),
        }
    }

    fn add(&mut self, message: &MessageCreated) {
        self.last_seq = message.seq;
        if let Some(id) = &message.client_message_id {
            self.client_ids.insert(client_id_hash(id), message.message_id);
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

impl Visitor {
    fn texts_bytes(&self) -> usize {
        let users = [&self.user_id, &self.owner].into_iter().flatten().map(|user| user.as_str().len());
        let info = self.user_info.as_ref().map_or(0, String::len);
        let fingerprint = self.fingerprint.as_ref().map_or(0, |text| text.as_str().len());
        users.sum::<usize>() + info + fingerprint
    }

    fn learn(&mut self, told: &VisitorIdentified) {
        if let Some(user) = &told.user_id {
            self.user_id = Some(user.clone());
            if told.verified {
                self.owner.get_or_insert_with(|| user.clone());
            }
        }
        if let Some(info) = &told.user_info {
            self.user_info = Some(info.get().to_owned());
        }
        if let Some(fingerprint) = &told.fingerprint {
            self.fingerprint = Some(fingerprint.clone());
        }
    }
}

fn client_id_hash(id: &ClientMessageId) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(id.as_str()).into();
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(byte, hash)| *byte = hash);
    half
}

#[cfg(test)]
mod tests;
