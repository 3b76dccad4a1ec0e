//! A user's messages across sessions, newest page first, each page ascending.
//!
//! Which sessions the user has is the inbox's knowledge; the messages are the sessions' own. They are
//! merged by their positions in the log, which is the order in which they were taken.

use std::{fmt, sync::Arc};

use amoiq_actors::{
    Directory, Inbox, Message,
    inbox::{InboxEntry, Proof},
    transcript::Window,
};
use amoiq_events::{EventStore, Position, SessionId, UserId, session::Caller, store::Epoch};

use super::history::Answer;
use crate::{
    auth::{Principal, Role},
    message::MessageView,
    problem::Problem,
};

/// Where the next older page ends: before this position of this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserCursor {
    epoch: Epoch,
    before: Position,
}

impl UserCursor {
    /// Reads a cursor that an answer gave. One of another epoch is clamped to the log's head.
    pub(super) fn parse(text: &str, store: &dyn EventStore) -> Result<Self, Problem> {
        let read = || {
            let (epoch, before) = text.strip_prefix("u.")?.split_once('.')?;
            let epoch = Epoch(u64::from_str_radix(epoch, 16).ok()?);
            Some(Self { epoch, before: Position::from_u64(before.parse().ok()?) })
        };
        let cursor = read().ok_or_else(|| Problem::field("cursor", "is not one that this service gave"))?;
        if cursor.epoch == store.epoch() {
            return Ok(cursor);
        }
        let after_head = Position::from_u64(store.head().as_u64() + 1);
        Ok(Self { epoch: store.epoch(), before: cursor.before.min(after_head) })
    }
}

impl fmt::Display for UserCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u.{}.{}", self.epoch, self.before)
    }
}

/// What a history is read from.
pub(super) struct Scope<'a> {
    pub(super) directory: &'a Directory,
    pub(super) inbox: &'a Inbox,
    /// What was acknowledged up to here is in the answer.
    pub(super) head: Position,
    pub(super) epoch: Epoch,
}

/// A message and its session.
type Found = (SessionId, Arc<Message>);

impl Scope<'_> {
    pub(super) async fn read(
        &self,
        principal: &Principal,
        user: UserId,
        proof: Proof,
        cursor: Option<UserCursor>,
        limit: u32,
    ) -> Result<Answer, Problem> {
        let tenant = principal.tenant_id.clone();
        let sessions = self.inbox.sessions_of(tenant, user, proof, self.head).await?;
        if sessions.is_empty() && matches!(principal.role, Role::Staff { .. }) {
            return Err(Problem::UserNotFound);
        }
        let before = cursor.map_or(Position::from_u64(u64::MAX), |cursor| cursor.before);
        let (newest, has_more) = self.merge(principal, &sessions, before, limit).await?;
        let messages: Vec<_> =
            newest.iter().map(|(session, message)| MessageView::of(message, session)).collect();
        let oldest = newest.first().filter(|_| has_more);
        let next = oldest.map(|(_, message)| UserCursor { epoch: self.epoch, before: message.position });
        Ok(Answer { messages, has_more, next_cursor: next.map(|cursor| cursor.to_string()) })
    }

    /// The newest messages before a position, ascending, and whether there are older ones. Sessions
    /// come with the newest message first: the rest is not read once none of them can add anything.
    async fn merge(
        &self,
        principal: &Principal,
        sessions: &[InboxEntry],
        before: Position,
        limit: u32,
    ) -> Result<(Vec<Found>, bool), Problem> {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found: Vec<Found> = Vec::new();
        for entry in sessions {
            // One more than the page holds says whether there is another page.
            let is_enough = found.len() > most;
            if is_enough && found.get(most).is_some_and(|(_, message)| entry.last_position < message.position)
            {
                break;
            }
            let messages = self.session(principal, entry, before, limit + 1).await?;
            found.extend(messages.into_iter().map(|message| (entry.session.clone(), message)));
            found.sort_unstable_by_key(|(_, message)| std::cmp::Reverse(message.position));
            found.truncate(most + 1);
        }
        let has_more = found.len() > most;
        found.truncate(most);
        found.reverse();
        Ok((found, has_more))
    }

    /// The newest messages of one session before a position.
    async fn session(
        &self,
        principal: &Principal,
        entry: &InboxEntry,
        before: Position,
        limit: u32,
    ) -> Result<Vec<Arc<Message>>, Problem> {
        let mut window = Window::Newest;
        if entry.last_position >= before {
            window = Window::Before(self.first_at(principal, &entry.session, before).await?);
        }
        self.page(principal, &entry.session, window, limit).await
    }

    /// The `seq` of the session's first message at or after a position, by bisection.
    async fn first_at(
        &self,
        principal: &Principal,
        session: &SessionId,
        position: Position,
    ) -> Result<u32, Problem> {
        let newest = self.page(principal, session, Window::Newest, 1).await?;
        let mut low = 1;
        let mut high = newest.first().map_or(1, |message| message.seq + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.page(principal, session, Window::After(middle - 1), 1).await?;
            if at.first().is_some_and(|message| message.position < position) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    async fn page(
        &self,
        principal: &Principal,
        session: &SessionId,
        window: Window,
        limit: u32,
    ) -> Result<Vec<Arc<Message>>, Problem> {
        // The inbox vouched that the session is the user's: a verified user's history holds sessions
        // that were theirs together with someone else's claim, never someone else's own.
        let caller: Caller = principal.caller();
        let (_, page) = self.directory.read(&principal.tenant_id, session, caller, window, limit).await?;
        Ok(page.messages)
    }
}
