//! `GET /api/chat/messages` and `GET /webchat/messages`: a session's messages, or a user's across sessions.
//!
//! A page is bounded in messages and in bytes ([`page`]), and a long one is written piece by piece (`body`).

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, web};
use amoiq_actors::{
    inbox::{IdentityProof, InboxView},
    sessions::{MessagePage, PageQuery, PageWindow, SessionDirectory},
};
use amoiq_events::{ConversationId, EventLog, SessionId, UserId};

use self::{
    body::HistorySource,
    page::{HistoryBytes, HistoryPage, SessionMessage},
    user::{UserCursor, UserHistory},
};
use super::authenticated::Authenticated;
use crate::{
    access::{
        auth::{CallerRole, Principal},
        session_guard::SessionGuard,
    },
    api::{
        field::Validation,
        messages::{HistoryQuery, MessagePlace},
        problem::Problem,
    },
};

mod body;
pub mod page;
mod user;

/// How many messages a page has when nothing is said.
const DEFAULT_LIMIT: u32 = 100;

/// How many messages a page has at the most.
const MAX_LIMIT: u32 = 500;

/// How long a user's history may take, over all their sessions.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads histories.
pub struct HistoryReader {
    /// The sessions.
    pub directory: SessionDirectory,
    /// Which sessions a user has.
    pub inbox: InboxView,
    /// The log.
    pub store: Arc<dyn EventLog>,
    /// How large a page may be.
    pub page_bytes: HistoryBytes,
}

/// What to read, checked.
struct HistorySelection {
    session: Option<SessionId>,
    conversation: Option<ConversationId>,
    user: Option<UserId>,
    limit: u32,
    window: PageWindow,
    cursor: Option<String>,
}

/// Gives a page of messages.
///
/// # Errors
/// See the catalogue.
pub async fn read(
    caller: Authenticated,
    guard: web::Data<SessionGuard>,
    reader: web::Data<HistoryReader>,
) -> Result<HttpResponse, Problem> {
    caller.check_site(None)?;
    let mut selection = check(caller.query()?)?;
    let Authenticated { principal, client, .. } = caller;
    if let Some(conversation) = selection.conversation {
        let session = guard.session_of(&principal, client, conversation).await?;
        if selection.session.replace(session.clone()).is_some_and(|named| named != session) {
            return Err(Problem::field("conversationId", "is of another session"));
        }
    }
    principal.check_user(selection.user.as_ref())?;
    let page = match subject(&principal, &selection)? {
        HistorySubject::Session(session) => {
            guard.check_attempt(&principal, client, &session)?;
            let window = match &selection.cursor {
                Some(cursor) => PageWindow::Before(SessionCursor::parse(cursor)?.0),
                None => selection.window,
            };
            let limit = reader.page_bytes.limit(selection.limit);
            let query = PageQuery { caller: principal.caller(), window, limit };
            let (access, page) = reader.directory.read(&principal.tenant_id, &session, query).await?;
            guard.check_access(&principal, client, access)?;
            session_page(&session, window, page, reader.page_bytes)
        }
        HistorySubject::User(user, proof) => {
            if selection.window != PageWindow::Newest {
                return Err(Problem::field("cursor", "pages a user's history; `before` and `after` do not"));
            }
            let cursor = selection.cursor.as_deref();
            let cursor = cursor.map(|text| UserCursor::parse(text, &*reader.store)).transpose()?;
            let head = reader.store.current_head().await?;
            let history =
                UserHistory { reader: &reader, principal: &principal, limit: selection.limit, head };
            let reading = history.read(user, proof, cursor);
            // Each session has its own deadline; a user may have a thousand.
            tokio::time::timeout(PATIENCE, reading).await.unwrap_or(Err(Problem::StoreUnavailable))?
        }
    };
    let source = HistorySource {
        directory: reader.directory.clone(),
        tenant: principal.tenant_id.clone(),
        caller: principal.caller(),
    };
    source.respond(&page)
}

fn check(query: HistoryQuery) -> Result<HistorySelection, Problem> {
    let mut validation = Validation::new();
    let session = validation.optional("sessionId", query.session_id);
    let conversation = validation.optional("conversationId", query.conversation_id);
    let user = validation.optional("userId", query.user_id);
    let limit = validation.optional("limit", query.limit).unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        validation.refuse("limit", format!("must be 1 to {MAX_LIMIT}"));
    }
    let cursor = validation.optional("cursor", query.cursor);
    let before = validation.optional("before", query.before);
    let window = match (before, validation.optional("after", query.after)) {
        (None, None) => PageWindow::Newest,
        (Some(seq), None) => PageWindow::Before(seq),
        (None, Some(seq)) => PageWindow::After(seq),
        (Some(_), Some(_)) => {
            validation.refuse("before", "goes with neither `after` nor `cursor`");
            PageWindow::Newest
        }
    };
    if cursor.is_some() && window != PageWindow::Newest {
        validation.refuse("cursor", "goes with neither `before` nor `after`");
    }
    validation.finish()?;
    Ok(HistorySelection { session, conversation, user, limit, window, cursor })
}

/// Whose messages to read.
enum HistorySubject {
    Session(SessionId),
    User(UserId, IdentityProof),
}

/// A session when one is named, or the token's own; otherwise the user's sessions, for those who may
/// read across sessions.
fn subject(principal: &Principal, selection: &HistorySelection) -> Result<HistorySubject, Problem> {
    if let Some(named) = &selection.session {
        let bound = principal.bound_session(Some(named.clone()))?;
        return Ok(HistorySubject::Session(bound.unwrap_or_else(|| named.clone())));
    }
    match (&principal.role, &selection.user) {
        (CallerRole::Visitor { session: Some(bound), .. }, None) => {
            Ok(HistorySubject::Session(bound.clone()))
        }
        (CallerRole::Visitor { verified: Some(user), .. }, _) => {
            Ok(HistorySubject::User(user.clone(), IdentityProof::Verified))
        }
        (CallerRole::Staff { .. }, Some(user)) => {
            Ok(HistorySubject::User(user.clone(), IdentityProof::Claimed))
        }
        (_, Some(_)) => Err(Problem::Forbidden("only a verified user reads across sessions")),
        (_, None) => Err(Problem::field("sessionId", "is required")),
    }
}

/// What fits of a session's page, and where the next older one ends.
fn session_page(
    session: &SessionId,
    window: PageWindow,
    page: MessagePage,
    page_bytes: HistoryBytes,
) -> HistoryPage {
    let place = MessagePlace::of_page(session, &page);
    let mut messages: Vec<SessionMessage> =
        page.messages.into_iter().map(|message| (place.clone(), message)).collect();
    let (read, is_backward) = (messages.len(), !matches!(window, PageWindow::After(_)));
    if is_backward {
        let fitting = page_bytes.fitting(messages.iter().rev());
        messages.drain(..read.saturating_sub(fitting));
    } else {
        messages.truncate(page_bytes.fitting(messages.iter()));
    }
    let has_more = page.has_more || messages.len() < read;
    let first = messages.first().filter(|_| has_more && is_backward);
    let next_cursor = first.map(|(_, message)| SessionCursor(message.seq).to_string());
    HistoryPage { messages, has_more, next_cursor }
}

/// The end of a session's next older page: its messages have a lower `seq`.
struct SessionCursor(u32);

impl SessionCursor {
    fn parse(text: &str) -> Result<Self, Problem> {
        let seq = text.strip_prefix("s.").and_then(|seq| seq.parse().ok());
        seq.map(Self).ok_or_else(|| Problem::field("cursor", "is not one that this service gave"))
    }
}

impl std::fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s.{}", self.0)
    }
}
