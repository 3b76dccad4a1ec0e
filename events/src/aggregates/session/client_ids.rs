//! The `clientMessageId`s of a session: each is unique for its author, and a repeat is recognised by it.
//!
//! All visitors of a session are one author, and so are all bots; agents are told apart ([`AgentAuthor`]). An
//! agent's message from before authors were recorded counts for every agent.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::{AgentAuthor, MessageSender};
use crate::{ClientMessageId, MessageId, MessageText};

/// The client ids of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClientIds(HashMap<Key, FirstUse>);

/// Sixteen bytes of a hash over author and id, instead of up to 512 of text: a session may hold 50,000 of them.
type Key = [u8; 16];

/// What was sent under an id first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FirstUse {
    message: MessageId,
    /// Eight bytes of the text's hash. An author who finds two texts with the same eight has only fooled
    /// themselves.
    text: [u8; 8],
}

/// Whose an id is.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageAuthor<'a> {
    pub(super) sender: MessageSender,
    pub(super) agent: Option<&'a AgentAuthor>,
}

/// What an id was used for before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlierUse {
    /// The same text, in this message.
    Same(MessageId),
    /// Another text, in this message.
    Other(MessageId),
}

impl ClientIds {
    /// About how many bytes they take in memory.
    pub(super) fn size_bytes(&self) -> usize {
        const ENTRY_BYTES: usize = size_of::<(Key, FirstUse)>() + 1;
        self.0.capacity() * ENTRY_BYTES * 8 / 7
    }

    /// Records a message. Of several with one id the first counts.
    pub(super) fn note(
        &mut self,
        author: MessageAuthor<'_>,
        id: &ClientMessageId,
        message: MessageId,
        text: &MessageText,
    ) {
        self.0.entry(author.key(id)).or_insert_with(|| FirstUse { message, text: text_hash(text) });
    }

    /// What the author used an id for before; `None` when it is new.
    pub(super) fn find(
        &self,
        author: MessageAuthor<'_>,
        id: &ClientMessageId,
        text: &MessageText,
    ) -> Option<EarlierUse> {
        let own = self.0.get(&author.key(id));
        let unrecorded = || self.0.get(&MessageAuthor { agent: None, ..author }.key(id));
        let first = own.or_else(|| author.agent.and_then(|_| unrecorded()))?;
        let is_same = first.text == text_hash(text);
        Some(if is_same { EarlierUse::Same(first.message) } else { EarlierUse::Other(first.message) })
    }
}

impl MessageAuthor<'_> {
    /// Ids contain no control character, so NUL separates them.
    fn key(self, id: &ClientMessageId) -> Key {
        let (kind, name) = match (self.sender, self.agent) {
            (MessageSender::User, _) => ("user", ""),
            (MessageSender::Bot, _) => ("bot", ""),
            (MessageSender::Agent, None) => ("agent", ""),
            (MessageSender::Agent, Some(AgentAuthor::Token(user))) => ("token", user.as_str()),
            (MessageSender::Agent, Some(AgentAuthor::Sender(user))) => ("sender", user.as_str()),
            (MessageSender::Agent, Some(AgentAuthor::Key)) => ("key", ""),
        };
        let mut hash = Sha256::new();
        for part in [kind, "\0", name, "\0", id.as_str()] {
            hash.update(part);
        }
        start(hash.finalize().into())
    }
}

fn text_hash(text: &MessageText) -> [u8; 8] {
    start(Sha256::digest(text.as_str()).into())
}

fn start<const LENGTH: usize>(hash: [u8; 32]) -> [u8; LENGTH] {
    hash.first_chunk().copied().unwrap_or([0; LENGTH])
}
