//! `GET /api/chat/messages`: a session's messages, or a user's across sessions.
//!
//! A page is bounded in messages and in bytes ([`size`]), and a long one is written a piece at a time (`body`).

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::{
    inbox::InboxView,
    sessions::{PageWindow, SessionDirectory},
};
use amoiq_events::{EventStore, SessionId, UserId};
use serde::Serialize;

use self::{
    body::Source,
    size::{Found, HistoryBytes},
};
use super::{
    access::{self, Doorkeeper},
    context::Caller,
    fields::Fields,
    limits::Gate,
    user_history::{self, UserCursor},
};
use crate::{
    access::auth::{Principal, Role},
    api::message::{Audience, MessageView},
    api::problem::Problem,
};

mod body;
pub mod size;

/// How many messages a page has when nothing is said.
const DEFAULT_LIMIT: u32 = 100;

/// How many messages a page has at the most.
const MAX_LIMIT: u32 = 500;

/// How long a user's history may take, over all their sessions.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked for.
pub(super) struct Query {
    session: Option<SessionId>,
    user: Option<UserId>,
    limit: u32,
    window: PageWindow,
    cursor: Option<String>,
}

/// A page of messages, ascending.
pub(super) struct Answer {
    pub(super) messages: Vec<Found>,
    pub(super) has_more: bool,
    pub(super) next_cursor: Option<String>,
}

/// The same as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerView {
    messages: Vec<MessageView>,
    has_more: bool,
    next_cursor: Option<String>,
}

impl Answer {
    fn view(&self, audience: Audience) -> AnswerView {
        let view = |(session, message): &Found| MessageView::of(message, session, audience);
        self.with(self.messages.iter().map(view).collect())
    }

    fn with(&self, messages: Vec<MessageView>) -> AnswerView {
        AnswerView { messages, has_more: self.has_more, next_cursor: self.next_cursor.clone() }
    }

    /// What stands before the messages and after them.
    fn around(&self) -> Result<(String, String), Problem> {
        let empty = serde_json::to_string(&self.with(Vec::new())).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written");
            Problem::Internal
        })?;
        let at = empty.find(']').ok_or(Problem::Internal)?;
        let (before, after) = empty.split_at(at);
        Ok((before.to_owned(), after.to_owned()))
    }
}

/// Gives a page of messages.
///
/// # Errors
/// See the catalogue.
pub async fn read(
    request: HttpRequest,
    Caller(context): Caller,
    gate: web::Data<Gate>,
    directory: web::Data<SessionDirectory>,
    inbox: web::Data<InboxView>,
    store: web::Data<dyn EventStore>,
    most_bytes: web::Data<HistoryBytes>,
) -> Result<HttpResponse, Problem> {
    let principal = access::principal(&gate, &context, &request, &mut Fields::default())?;
    access::check_site(&principal, &gate, &request, None)?;
    let query = parse(Fields::of_query(request.query_string()))?;
    access::check_user(&principal, query.user.as_ref())?;
    let doorkeeper = Doorkeeper { gate: &gate, directory: &directory };
    let answer = match subject(&principal, &query)? {
        Subject::Session(session) => {
            doorkeeper.before(&principal, context.client, &session)?;
            let window = match &query.cursor {
                Some(cursor) => PageWindow::Before(SessionCursor::parse(cursor)?.0),
                None => query.window,
            };
            let limit = most_bytes.limit(query.limit);
            let read = directory.read(&principal.tenant_id, &session, principal.caller(), window, limit);
            let (access, page) = read.await?;
            doorkeeper.after(&principal, context.client, access)?;
            answer_of(&session, window, page, **most_bytes)
        }
        Subject::User(user, proof) => {
            if query.window != PageWindow::Newest {
                return Err(Problem::field("cursor", "pages a user's history; `before` and `after` do not"));
            }
            let cursor = query.cursor.as_deref().map(|text| UserCursor::parse(text, &**store)).transpose()?;
            let scope = user_history::Scope {
                directory: &directory,
                inbox: &inbox,
                head: store.head(),
                epoch: store.epoch(),
                most_bytes: **most_bytes,
            };
            let reading = scope.read(&principal, user, proof, cursor, query.limit);
            // Each session has its own deadline; a user may have a thousand.
            tokio::time::timeout(PATIENCE, reading).await.unwrap_or(Err(Problem::StoreUnavailable))?
        }
    };
    let source = Source {
        directory: directory.as_ref().clone(),
        tenant: principal.tenant_id.clone(),
        caller: principal.caller(),
    };
    source.respond(&answer)
}

fn parse(mut fields: Fields) -> Result<Query, Problem> {
    let session = fields.id("sessionId", SessionId::parse);
    let user = fields.id("userId", UserId::parse);
    let limit = fields.number("limit").unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        fields.refuse("limit", format!("must be 1 to {MAX_LIMIT}"));
    }
    let cursor = fields.text("cursor");
    let window = match (fields.number("before"), fields.number("after")) {
        (None, None) => PageWindow::Newest,
        (Some(seq), None) => PageWindow::Before(seq),
        (None, Some(seq)) => PageWindow::After(seq),
        (Some(_), Some(_)) => {
            fields.refuse("before", "goes with neither `after` nor `cursor`");
            PageWindow::Newest
        }
    };
    if cursor.is_some() && window != PageWindow::Newest {
        fields.refuse("cursor", "goes with neither `before` nor `after`");
    }
    fields.finish()?;
    Ok(Query { session, user, limit, window, cursor })
}

/// Whose messages are asked for.
enum Subject {
    Session(SessionId),
    User(UserId, amoiq_actors::inbox::IdentityProof),
}

/// A session when one is named, or the token's own; otherwise the user's sessions, for those who may
/// read across sessions.
fn subject(principal: &Principal, query: &Query) -> Result<Subject, Problem> {
    use amoiq_actors::inbox::IdentityProof;
    if let Some(named) = &query.session {
        let bound = access::bound_session(principal, Some(named.clone()))?;
        return Ok(Subject::Session(bound.unwrap_or_else(|| named.clone())));
    }
    match (&principal.role, &query.user) {
        (Role::Visitor { session: Some(bound), verified: None }, None) => Ok(Subject::Session(bound.clone())),
        (Role::Visitor { session: Some(bound), verified: Some(_) }, None) => {
            Ok(Subject::Session(bound.clone()))
        }
        (Role::Visitor { verified: Some(user), .. }, _) => {
            Ok(Subject::User(user.clone(), IdentityProof::Verified))
        }
        (Role::Staff { .. }, Some(user)) => Ok(Subject::User(user.clone(), IdentityProof::Claimed)),
        (_, Some(_)) => Err(Problem::Forbidden("only a verified user reads across sessions")),
        (_, None) => Err(Problem::field("sessionId", "is required")),
    }
}

/// What fits of a session's page, and where the next older one ends.
fn answer_of(
    session: &SessionId,
    window: PageWindow,
    page: amoiq_actors::sessions::MessagePage,
    most_bytes: HistoryBytes,
) -> Answer {
    let mut messages: Vec<Found> =
        page.messages.into_iter().map(|message| (session.clone(), message)).collect();
    let (read, is_backward) = (messages.len(), !matches!(window, PageWindow::After(_)));
    if is_backward {
        let fitting = most_bytes.fitting(messages.iter().rev());
        messages.drain(..read.saturating_sub(fitting));
    } else {
        messages.truncate(most_bytes.fitting(messages.iter()));
    }
    let has_more = page.has_more || messages.len() < read;
    let first = messages.first().filter(|_| has_more && is_backward);
    let next_cursor = first.map(|(_, message)| SessionCursor(message.seq).to_string());
    Answer { messages, has_more, next_cursor }
}

/// Where a session's next older page ends.
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
