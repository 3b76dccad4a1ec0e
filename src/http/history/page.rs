//! A page of history: its messages, how large it may be, and what is left out of one that would be larger.
//!
//! A page is measured as JSON, and what does not fit is left out at the far end of the reading direction. A page of
//! `DEFAULT_LIMIT` messages is never cut while `limits.text_characters` and `limits.history_bytes` have their
//! defaults: 100 texts of 10,000 characters, each twice, have at most 8,000,000 bytes in UTF-8. As JSON a control character takes
//! six bytes instead of one, so a message counts with no more than its share of the page, or than its texts in UTF-8
//! with `FIELDS_BYTES` beside it if that is more.

use std::{io, sync::Arc};

use amoiq_actors::sessions::{ChatMessage, PageLimit};

use super::DEFAULT_LIMIT;
use crate::api::{
    messages::{Audience, HistoryResponse, MessagePlace, MessageResponse},
    problem::Problem,
};

/// A message with its session.
pub(super) type SessionMessage = (MessagePlace, Arc<ChatMessage>);

/// A page of messages, ascending.
pub(super) struct HistoryPage {
    pub(super) messages: Vec<SessionMessage>,
    pub(super) has_more: bool,
    pub(super) next_cursor: Option<String>,
}

impl HistoryPage {
    /// The page as an audience reads it.
    pub(super) fn response(&self, audience: Audience) -> HistoryResponse {
        let message = |(place, message): &SessionMessage| MessageResponse::of(message, place, audience);
        self.with(self.messages.iter().map(message).collect())
    }

    /// The JSON before the messages and after them.
    pub(super) fn around(&self) -> Result<(String, String), Problem> {
        let empty = serde_json::to_string(&self.with(Vec::new())).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written");
            Problem::Internal
        })?;
        let at = empty.find(']').ok_or(Problem::Internal)?;
        let (before, after) = empty.split_at(at);
        Ok((before.to_owned(), after.to_owned()))
    }

    fn with(&self, messages: Vec<MessageResponse>) -> HistoryResponse {
        HistoryResponse { messages, has_more: self.has_more, next_cursor: self.next_cursor.clone() }
    }
}

/// The bytes of an answer around its messages, rounded up.
const ENVELOPE_BYTES: usize = 128;

/// What a message has beside its text, unless its ids and names are unusually long.
const FIELDS_BYTES: usize = 2_200;

/// No message has more beside its texts than this and its session's id, twice.
const NAMES_BYTES: usize = 832;

/// The most bytes that one byte of a text takes as JSON.
const ESCAPED_BYTES: usize = 6;

/// `limits.history_bytes`
#[derive(Debug, Clone, Copy)]
pub struct HistoryBytes(pub usize);

impl HistoryBytes {
    /// What is asked of a session that is to give so many messages.
    pub(super) fn limit(self, messages: u32) -> PageLimit {
        PageLimit { messages, bytes: self.0 }
    }

    /// How many messages fit into one page, in the order of reading; the first one always does.
    pub(super) fn fitting<'a>(
        self,
        messages: impl DoubleEndedIterator<Item = &'a SessionMessage> + Clone,
    ) -> usize {
        let room = self.0.saturating_sub(ENVELOPE_BYTES);
        if messages.clone().map(most_bytes).sum::<usize>() <= room {
            return messages.count();
        }
        let mut bytes = 0;
        let fits = |found: &&SessionMessage| {
            bytes += counted_bytes(found, room);
            bytes <= room
        };
        messages.take_while(fits).count().max(1)
    }
}

/// What a message counts for in a page of so many bytes.
fn counted_bytes(found: &SessionMessage, room: usize) -> usize {
    let share = room / DEFAULT_LIMIT as usize;
    let in_utf8 = 2 * found.1.text.as_str().len() + FIELDS_BYTES;
    // Staff are shown the most.
    (json_bytes(found, Audience::Staff) + ",".len()).min(in_utf8.max(share))
}

/// What a message has as JSON.
pub(super) fn json_bytes((place, message): &SessionMessage, audience: Audience) -> usize {
    let mut count = ByteCount(0);
    match serde_json::to_writer(&mut count, &MessageResponse::of(message, place, audience)) {
        Ok(()) => count.0,
        // Writing it would fail in the same way, and say so.
        Err(_unwritable) => 0,
    }
}

/// More than a message can have as JSON, found without writing it: most pages are far from the limit.
fn most_bytes((place, message): &SessionMessage) -> usize {
    // Most texts are in it twice, and an anonymous user's id contains the session's.
    let texts = 2 * message.size_bytes() + 2 * place.session.as_str().len();
    ESCAPED_BYTES * texts + NAMES_BYTES
}

struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
