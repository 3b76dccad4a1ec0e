//! A session's messages, as every reader sees them. The newest are kept in memory (`recent_messages`); older ones are read
//! from the log.

use std::sync::Arc;

use amoiq_events::{
    ClientMessageId, ConversationId, MessageId, MessageText, Position, ShortText, Timestamp, UserId,
    session::{MessageCreated, MessageSender, SessionCaller},
};

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Its id.
    pub id: MessageId,
    /// Its number in the session: 1, 2, 3 …
    pub seq: u32,
    /// The text, as sent.
    pub text: MessageText,
    /// Who wrote it.
    pub sender: MessageSender,
    /// When the service accepted it.
    pub timestamp: Timestamp,
    /// The visitor; `None` while they are anonymous.
    pub user_id: Option<UserId>,
    /// Whether a secret key vouched for the visitor; `None` where the log does not say.
    pub verified: Option<bool>,
    /// The name that the visitor claims, if it is somebody else's.
    pub claimed_user_id: Option<UserId>,
    /// An agent's or bot's name.
    pub sender_name: Option<ShortText>,
    /// The id that the client gave it.
    pub client_message_id: Option<ClientMessageId>,
    /// The time that the client gave it.
    pub client_timestamp: Option<ShortText>,
    /// Its position in the log.
    pub position: Position,
}

impl ChatMessage {
    /// The message that an event recorded.
    #[must_use]
    pub fn of(created: &MessageCreated, timestamp: Timestamp, position: Position) -> Self {
        Self {
            id: created.message_id,
            seq: created.seq,
            text: created.text.clone(),
            sender: created.sender,
            timestamp,
            user_id: created.user_id.clone(),
            verified: created.verified,
            claimed_user_id: created.claimed_user_id.clone(),
            sender_name: created.sender_name.clone(),
            client_message_id: created.client_message_id.clone(),
            client_timestamp: created.client_timestamp.clone(),
            position,
        }
    }

    /// The bytes of its texts. As JSON the message is larger.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let length = |text: &Option<ShortText>| text.as_ref().map_or(0, |text| text.as_str().len());
        self.text.as_str().len()
            + self.user_id.as_ref().map_or(0, |id| id.as_str().len())
            + self.claimed_user_id.as_ref().map_or(0, |id| id.as_str().len())
            + self.client_message_id.as_ref().map_or(0, |id| id.as_str().len())
            + length(&self.sender_name)
            + length(&self.client_timestamp)
    }
}

/// How much of a session's messages one page may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// The most messages.
    pub messages: u32,
    /// The most bytes of their texts ([`ChatMessage::size_bytes`]), when they are read from the log; but at least one
    /// message.
    pub bytes: usize,
}

impl PageLimit {
    /// No messages, for a caller who only asks for access.
    pub const NOTHING: Self = Self::messages(0);

    /// At most so many messages, of any length.
    #[must_use]
    pub const fn messages(messages: u32) -> Self {
        Self { messages, bytes: usize::MAX }
    }
}

/// Which messages of a session a page contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageWindow {
    /// The newest.
    Newest,
    /// The newest before this `seq`.
    Before(u32),
    /// The oldest after this `seq`.
    After(u32),
}

impl PageWindow {
    /// The first and last `seq` of at most `limit` messages of a session whose last message is `last`, and whether there
    /// are more in the direction of reading. The page is empty when the first is higher than the last.
    #[must_use]
    pub fn span(self, last: u32, limit: u32) -> (u32, u32, bool) {
        match self {
            Self::Newest => Self::Before(last.saturating_add(1)).span(last, limit),
            Self::Before(seq) => {
                let high = seq.saturating_sub(1).min(last);
                let low = high.saturating_sub(limit).saturating_add(1);
                (low, high, high > 0 && low > 1)
            }
            Self::After(seq) => {
                let high = seq.saturating_add(limit).min(last);
                (seq.saturating_add(1), high, high < last)
            }
        }
    }
}

/// A request for messages of a session.
#[derive(Debug, Clone)]
pub struct PageQuery {
    /// Who asks.
    pub caller: SessionCaller,
    /// Which messages.
    pub window: PageWindow,
    /// How many at most.
    pub limit: PageLimit,
}

/// Consecutive messages, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<Arc<ChatMessage>>,
    /// Whether there are more in the direction of reading.
    pub has_more: bool,
    /// The session's conversation, once there is a message.
    pub conversation: Option<SessionConversation>,
}

/// The conversation of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConversation {
    /// Its id, the same over closing and reopening.
    pub id: ConversationId,
    /// When it was closed; `None` while it is open.
    pub closed_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_page_ends_at_the_last_message() {
        assert_eq!(PageWindow::Newest.span(10, 4), (7, 10, true));
        assert_eq!(PageWindow::Newest.span(4, 4), (1, 4, false));
        assert_eq!(PageWindow::Newest.span(0, 4), (1, 0, false));
    }

    #[test]
    fn a_page_before_a_message_leaves_it_out() {
        assert_eq!(PageWindow::Before(7).span(10, 4), (3, 6, true));
        assert_eq!(PageWindow::Before(5).span(10, 4), (1, 4, false));
        assert_eq!(PageWindow::Before(1).span(10, 4), (1, 0, false));
        assert_eq!(PageWindow::Before(u32::MAX).span(10, 4), (7, 10, true));
    }

    #[test]
    fn a_page_after_a_message_starts_with_the_next() {
        assert_eq!(PageWindow::After(0).span(10, 4), (1, 4, true));
        assert_eq!(PageWindow::After(6).span(10, 4), (7, 10, false));
        assert_eq!(PageWindow::After(10).span(10, 4), (11, 10, false));
    }
}
