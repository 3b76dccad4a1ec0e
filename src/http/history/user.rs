//! A user's messages across sessions, newest page first, each page ascending.
//!
//! Which sessions the user has is the inbox's knowledge; the messages are the sessions' own. They are
//! merged by their positions in the log, which is the order in which they were taken. The sessions are read one
//! after the other while the user writes on: what was taken after the first read began, or is not before the cursor,
//! is left out, so that pages neither overlap nor leave anything between them.

use std::{
    fmt,
    ops::{Bound, RangeBounds},
};

use amoiq_actors::{
    inbox::{IdentityProof, InboxEntry},
    sessions::{MessagePage, PageLimit, PageQuery, PageWindow},
};
use amoiq_events::{EventLog, Position, SessionId, UserId, store::Epoch};

use super::{
    HistoryReader,
    page::{HistoryPage, SessionMessage},
};
use crate::{
    access::auth::{CallerRole, Principal},
    api::{messages::MessagePlace, problem::Problem},
};

/// Where the next older page ends: before this position of this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserCursor {
    epoch: Epoch,
    before: Position,
}

impl UserCursor {
    /// Reads a cursor that an answer gave. One of another epoch is clamped to the log's head.
    pub(super) fn parse(text: &str, store: &dyn EventLog) -> Result<Self, Problem> {
        let read = || {
            let (epoch, before) = text.strip_prefix("u.")?.split_once('.')?;
            let epoch = Epoch(u64::from_str_radix(epoch, 16).ok()?);
            Some(Self { epoch, before: Position::from_u64(before.parse().ok()?) })
        };
        let cursor = read().ok_or_else(|| Problem::field("cursor", "is not one that this service gave"))?;
        if cursor.epoch == store.epoch() {
            return Ok(cursor);
        }
        Ok(Self { epoch: store.epoch(), before: cursor.before })
    }
}

impl fmt::Display for UserCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u.{}.{}", self.epoch, self.before)
    }
}

/// The part of the log that a page is read from.
type PositionSpan = (Bound<Position>, Bound<Position>);

/// A user's history as one caller reads it.
pub(super) struct UserHistory<'a> {
    pub(super) reader: &'a HistoryReader,
    pub(super) principal: &'a Principal,
    /// The most messages of a page.
    pub(super) limit: u32,
    /// The end of the log: what was acknowledged up to here is in the answer.
    pub(super) head: Position,
}

impl UserHistory<'_> {
    pub(super) async fn read(
        &self,
        user: UserId,
        proof: IdentityProof,
        cursor: Option<UserCursor>,
    ) -> Result<HistoryPage, Problem> {
        let Self { reader, principal, .. } = self;
        let tenant = principal.tenant_id.clone();
        let sessions = reader.inbox.sessions_of(tenant, user, proof, self.head).await?;
        if sessions.is_empty() && matches!(principal.role, CallerRole::Staff { .. }) {
            return Err(Problem::UserNotFound);
        }
        let end = match cursor {
            Some(cursor) if cursor.before <= self.head => Bound::Excluded(cursor.before),
            _ => Bound::Included(self.head),
        };
        let (mut newest, mut has_more) = self.merge(&sessions, (Bound::Unbounded, end)).await?;
        let fitting = reader.page_bytes.fitting(newest.iter());
        has_more |= fitting < newest.len();
        newest.truncate(fitting);
        let oldest = newest.last().filter(|_| has_more);
        let next =
            oldest.map(|(_, message)| UserCursor { epoch: reader.store.epoch(), before: message.position });
        newest.reverse();
        Ok(HistoryPage { messages: newest, has_more, next_cursor: next.map(|cursor| cursor.to_string()) })
    }

    /// The newest messages of a span, the newest first, and whether there are older ones. Sessions
    /// come with the newest message first: the rest is not read once none of them can add anything.
    async fn merge(
        &self,
        sessions: &[InboxEntry],
        span: PositionSpan,
    ) -> Result<(Vec<SessionMessage>, bool), Problem> {
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut found: Vec<SessionMessage> = Vec::new();
        // Before this position there are messages that were not read, or not kept: nothing before it belongs
        // to this page.
        let mut complete_from = Position::START;
        for entry in sessions {
            if entry.last_position < complete_from {
                break;
            }
            let page = self.session(entry, span).await?;
            if let Some(oldest) = page.messages.first().filter(|_| page.has_more) {
                complete_from = complete_from.max(oldest.position);
            }
            let place = MessagePlace::of_page(&entry.session, &page);
            found.extend(page.messages.into_iter().map(|message| (place.clone(), message)));
            found.sort_unstable_by_key(|(_, message)| std::cmp::Reverse(message.position));
            let read = found.len();
            let mut bytes = 0;
            let fitting = found.iter().take(most).take_while(|(_, message)| {
                let is_first = bytes == 0;
                bytes += message.size_bytes();
                is_first || bytes <= self.reader.page_bytes.0
            });
            let fitting = fitting.count();
            found.truncate(fitting);
            if let Some((_, oldest)) = found.last().filter(|_| fitting < read) {
                complete_from = complete_from.max(oldest.position);
            }
            found.retain(|(_, message)| message.position >= complete_from);
        }
        Ok((found, complete_from > Position::START))
    }

    /// The newest messages of one session within a span.
    async fn session(&self, entry: &InboxEntry, span: PositionSpan) -> Result<MessagePage, Problem> {
        let limit = self.reader.page_bytes.limit(self.limit);
        if span.contains(&entry.last_position) {
            let newest = self.page(&entry.session, PageWindow::Newest, limit).await?;
            // The session may have gone on since the inbox was asked.
            if newest.messages.last().is_none_or(|last| span.contains(&last.position)) {
                return Ok(newest);
            }
        }
        let window = PageWindow::Before(self.first_after(&entry.session, span).await?);
        self.page(&entry.session, window, limit).await
    }

    /// The `seq` of the session's first message after a span, by bisection.
    async fn first_after(&self, session: &SessionId, span: PositionSpan) -> Result<u32, Problem> {
        let one = PageLimit::messages(1);
        let newest = self.page(session, PageWindow::Newest, one).await?;
        let mut low = 1;
        let mut high = newest.messages.first().map_or(1, |message| message.seq + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.page(session, PageWindow::After(middle - 1), one).await?;
            if at.messages.first().is_some_and(|message| span.contains(&message.position)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    async fn page(
        &self,
        session: &SessionId,
        window: PageWindow,
        limit: PageLimit,
    ) -> Result<MessagePage, Problem> {
        // The inbox vouched that the session is the user's: a verified user's history holds sessions
        // that were theirs together with someone else's claim, never someone else's own.
        let (tenant, caller) = (&self.principal.tenant_id, self.principal.caller());
        let (_, page) =
            self.reader.directory.read(tenant, session, PageQuery { caller, window, limit }).await?;
        Ok(page)
    }
}
