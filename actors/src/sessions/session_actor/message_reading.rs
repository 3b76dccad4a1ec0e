//! Reading messages: from memory if they are there, otherwise from the log, in portions and no more than a page may
//! contain.

use std::sync::Arc;

use amoiq_events::{Version, session::SessionEvent, store::ReadDirection};

use super::{ChatMessage, LoadedSession, SessionAccess, SessionError, SessionWorker};
use crate::sessions::transcript::{MessagePage, PageQuery, PageWindow, SessionConversation};

/// How many events it reads at a time, so that little more is in memory than the page contains.
const READ_EVENTS: u64 = 100;

impl SessionWorker {
    pub(super) async fn read(
        &self,
        loaded: &LoadedSession,
        PageQuery { caller, window, limit }: &PageQuery,
    ) -> Result<(SessionAccess, MessagePage), SessionError> {
        let session = &loaded.session;
        if !session.exists() {
            return Ok((SessionAccess::Missing, MessagePage::default()));
        }
        if !session.opens_to(caller) {
            return Ok((SessionAccess::Denied, MessagePage::default()));
        }
        let closed_at = loaded.closed_at;
        let conversation = session.conversation_id().map(|id| SessionConversation { id, closed_at });
        let (low, high, has_more) = window.span(session.last_seq(), limit.messages);
        if let Some(messages) = loaded.recent.range(low, high) {
            return Ok((SessionAccess::Granted, MessagePage { messages, has_more, conversation }));
        }
        let (Some(from), Some(to)) = (session.version_of(low), session.version_of(high)) else {
            let messages = Vec::new();
            return Ok((SessionAccess::Granted, MessagePage { messages, has_more, conversation }));
        };
        let mut page = match *window {
            PageWindow::After(_) => self.messages_after(from, to, limit.bytes).await?,
            PageWindow::Newest | PageWindow::Before(_) => self.messages_before(from, to, limit.bytes).await?,
        };
        page.has_more |= has_more;
        Ok((SessionAccess::Granted, MessagePage { conversation, ..page }))
    }

    /// The oldest messages of a span, from the log.
    async fn messages_after(
        &self,
        mut from: Version,
        to: Version,
        most_bytes: usize,
    ) -> Result<MessagePage, SessionError> {
        let mut page = MessagePage::default();
        let mut bytes = 0;
        while from <= to {
            let wanted = (to.as_u64() - from.as_u64() + 1).min(READ_EVENTS);
            let read = self.messages(from, ReadDirection::Forward, wanted).await?;
            let Some(last) = read.last else { break };
            from = last.plus(1);
            for message in read.messages {
                bytes += message.size_bytes();
                if bytes > most_bytes && !page.messages.is_empty() {
                    return Ok(MessagePage { has_more: true, ..page });
                }
                page.messages.push(message);
            }
        }
        Ok(page)
    }

    /// The newest messages of a span, from the log, ascending.
    async fn messages_before(
        &self,
        from: Version,
        to: Version,
        most_bytes: usize,
    ) -> Result<MessagePage, SessionError> {
        let mut page = MessagePage::default();
        let (mut bytes, mut left) = (0, (to.as_u64() + 1).saturating_sub(from.as_u64()));
        while left > 0 && !page.has_more {
            let wanted = left.min(READ_EVENTS);
            let newest = from.plus(left - 1);
            left -= wanted;
            for message in self.messages(newest, ReadDirection::Backward, wanted).await?.messages {
                bytes += message.size_bytes();
                if bytes > most_bytes && !page.messages.is_empty() {
                    page.has_more = true;
                    break;
                }
                page.messages.push(message);
            }
        }
        page.messages.reverse();
        Ok(page)
    }

    async fn messages(
        &self,
        from: Version,
        direction: ReadDirection,
        wanted: u64,
    ) -> Result<MessagesRead, SessionError> {
        let limit = usize::try_from(wanted).unwrap_or(usize::MAX);
        let events = self.events(from, direction, limit).await?;
        let last = events.last().map(|(recorded, _)| recorded.version);
        let messages = events.iter().filter_map(|(recorded, event)| match event {
            SessionEvent::MessageCreated(created) => {
                Some(Arc::new(ChatMessage::of(created, recorded.event.time, recorded.position)))
            }
            _ => None,
        });
        Ok(MessagesRead { messages: messages.collect(), last })
    }
}

/// Some messages of the log, in the direction of reading.
struct MessagesRead {
    messages: Vec<Arc<ChatMessage>>,
    /// The version of the last event that was read; `None` at the end of the stream.
    last: Option<Version>,
}
