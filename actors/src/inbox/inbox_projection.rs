//! The fold of the inbox: what each event of a session changes in its row.
//!
//! Only the fields of a message that the row shows are decoded: most of a log is messages, and most of a message is not
//! in the inbox.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
};

use amoiq_events::{
    ConversationId, Event, RecordedEvent, SessionId, StreamName, TenantId, UserId,
    codec::{self, CodecError},
    session::{MessageSender, SessionEvent},
    stream::StreamKind,
    tenant::{SessionErased, TenantEvent},
};
use rusqlite::Connection;
use serde::Deserialize;

use super::{
    IdentityProof,
    inbox_tables::{self, InboxRow, InboxRows},
};
use crate::projections::{Projection, ViewError, ViewTables};

/// How much of the last message a list shows, in bytes.
const PREVIEW_BYTES: usize = 200;

/// The type of most events.
const MESSAGE: &str = "message.created";

/// The event in a tenant's stream that ends a session.
const ERASED: &str = "session.erased";

/// What the names of sessions' streams start with.
const SESSIONS: &str = "session:";

/// The projection. It holds the sessions that events changed.
#[derive(Default)]
pub struct InboxProjection {
    sessions: HashMap<StreamName, ChangedSession>,
}

/// A session with changes.
struct ChangedSession {
    tenant: TenantId,
    session: SessionId,
    row: InboxRow,
    /// Whether the row in the tables is open; `None` when there is none.
    stored_open: Option<bool>,
    /// Everything that the tables have of it is removed.
    is_erased: bool,
    /// An event came after that, so it has a row.
    exists: bool,
    /// Whose it is said to be, and how well that is proven; those that changed.
    claims: Vec<(UserId, IdentityProof)>,
    /// Its conversation, if that has just started.
    conversation: Option<ConversationId>,
}

/// What the inbox shows of a message.
#[derive(Deserialize)]
struct MessageSummary<'a> {
    seq: u32,
    sender: MessageSender,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl Projection for InboxProjection {
    const NAME: &'static str = "inbox";
    const VERSION: u32 = 5;
    /// They lack indexes, so that queries take longer, and do not know the session of a conversation.
    const STILL_SERVES: &'static [u32] = &[2, 3, 4];
    const TABLES: &'static [&'static str] = &["inbox", "inbox_users", "inbox_conversations"];

    fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        inbox_tables::create(conn, tables)
    }

    fn fold(
        &mut self,
        conn: &Connection,
        tables: ViewTables,
        event: &RecordedEvent,
    ) -> Result<(), ViewError> {
        if event.event.kind == ERASED {
            return self.erase(conn, tables, event);
        }
        if !event.stream.as_str().starts_with(SESSIONS) {
            return Ok(());
        }
        if event.event.kind == MESSAGE {
            let data = codec::data(event)?;
            let message: MessageSummary<'_> =
                serde_json::from_slice(&data).map_err(|error| CodecError::malformed(event, &error))?;
            if let Some(session) = self.session(conn, tables, &event.stream)? {
                session.exists = true;
                session.row.add_message(&message, event);
            }
            return Ok(());
        }
        let Event::Session(change) = codec::decode(event)? else { return Ok(()) };
        let Some(session) = self.session(conn, tables, &event.stream)? else { return Ok(()) };
        if let SessionEvent::VisitorIdentified(identified) = &change {
            let proof = if identified.verified { IdentityProof::Verified } else { IdentityProof::Claimed };
            let disputed = identified.claimed_user_id.iter().map(|user| (user, IdentityProof::Disputed));
            for (user, proof) in identified.user_id.iter().map(|user| (user, proof)).chain(disputed) {
                session.claim(conn, tables, user, proof)?;
            }
        }
        if let SessionEvent::ConversationStarted(started) = &change {
            session.conversation = Some(started.conversation_id);
        }
        session.exists = true;
        session.row.apply(&change, event);
        Ok(())
    }

    fn held(&self) -> usize {
        self.sessions.len()
    }

    fn portions(self, most: usize) -> Vec<Self> {
        let mut all: Vec<_> = self.sessions.into_iter().collect();
        all.sort_unstable_by(|(_, a), (_, b)| a.key().cmp(&b.key()));
        let mut portions = Vec::with_capacity(all.len().div_ceil(most));
        let mut rest = all.into_iter().peekable();
        while rest.peek().is_some() {
            portions.push(Self { sessions: rest.by_ref().take(most).collect() });
        }
        portions
    }

    fn store(&self, conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        let mut all: Vec<_> = self.sessions.values().collect();
        all.sort_unstable_by_key(|session| session.key());
        for erased in all.iter().filter(|session| session.is_erased) {
            inbox_tables::remove(conn, tables, &erased.tenant, &erased.session)?;
        }
        let mut rows = InboxRows::prepare(conn, tables)?;
        for session in all.iter().filter(|session| session.exists) {
            rows.store((&session.tenant, &session.session), &session.row, session.stored_open)?;
        }
        for session in all {
            if let Some(conversation) =
                session.conversation.filter(|_| inbox_tables::has_conversations(tables))
            {
                inbox_tables::store_conversation(conn, tables, session.key(), conversation)?;
            }
            for (user, proof) in &session.claims {
                inbox_tables::store_claim(conn, tables, session.claim_key(user), proof.as_stored())?;
            }
        }
        Ok(())
    }
}

impl InboxProjection {
    /// Forgets a session. Later events are of a new one under the same id.
    fn erase(
        &mut self,
        conn: &Connection,
        tables: ViewTables,
        event: &RecordedEvent,
    ) -> Result<(), ViewError> {
        let Some(tenant) = event.stream.tenant_id() else { return Ok(()) };
        let Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id })) = codec::decode(event)?
        else {
            return Ok(());
        };
        if let Some(session) = self.session(conn, tables, &StreamName::session(&tenant, &session_id))? {
            (session.row, session.is_erased, session.exists) = (InboxRow::default(), true, false);
            (session.stored_open, session.conversation) = (None, None);
            session.claims.clear();
        }
        Ok(())
    }

    /// The session of a stream, with its row so far; `None` when the stream is no session's.
    fn session(
        &mut self,
        conn: &Connection,
        tables: ViewTables,
        stream: &StreamName,
    ) -> Result<Option<&mut ChangedSession>, ViewError> {
        Ok(Some(match self.sessions.entry(stream.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                let Some(StreamKind::Session(tenant, session)) = stream.kind() else { return Ok(None) };
                let row = inbox_tables::find(conn, tables, &tenant, &session)?;
                let stored_open = row.as_ref().map(|row| row.is_open);
                let (exists, row) = (row.is_some(), row.unwrap_or_default());
                vacant.insert(ChangedSession {
                    tenant,
                    session,
                    row,
                    stored_open,
                    is_erased: false,
                    exists,
                    claims: Vec::new(),
                    conversation: None,
                })
            }
        }))
    }
}

impl ChangedSession {
    fn key(&self) -> (&str, &str) {
        (self.tenant.as_str(), self.session.as_str())
    }

    fn claim_key<'a>(&'a self, user: &'a UserId) -> (&'a str, &'a str, &'a str) {
        (self.tenant.as_str(), user.as_str(), self.session.as_str())
    }

    /// The best proof stays.
    fn claim(
        &mut self,
        conn: &Connection,
        tables: ViewTables,
        user: &UserId,
        proof: IdentityProof,
    ) -> Result<(), ViewError> {
        if let Some((_, known)) = self.claims.iter_mut().find(|(known, _)| known == user) {
            *known = proof.max(*known);
            return Ok(());
        }
        let known = match self.is_erased {
            true => None,
            false => inbox_tables::find_claim(conn, tables, self.claim_key(user))?,
        };
        self.claims.push((
            user.clone(),
            known.map(IdentityProof::of_stored).map_or(proof, |known| known.max(proof)),
        ));
        Ok(())
    }
}

impl InboxRow {
    fn apply(&mut self, event: &SessionEvent, recorded: &RecordedEvent) {
        match event {
            SessionEvent::Started(_) => self.started_at = recorded.event.time.as_millis(),
            SessionEvent::VisitorIdentified(visitor) => {
                if let Some(user) = &visitor.user_id {
                    user.as_str().clone_into(&mut self.user_id);
                } else if visitor.claimed_user_id.is_some() {
                    self.user_id.clear();
                }
            }
            SessionEvent::ConversationStarted(_) | SessionEvent::ConversationReopened(_) => {
                self.is_open = true;
            }
            SessionEvent::ConversationClosed(_) => self.is_open = false,
            // Most of a log: it takes the short way.
            SessionEvent::MessageCreated(_) => {}
        }
    }

    fn add_message(&mut self, message: &MessageSummary<'_>, recorded: &RecordedEvent) {
        let text: &str = &message.text;
        self.last_position = recorded.position.as_u64().cast_signed();
        self.last_at = recorded.event.time.as_millis();
        let sender = match message.sender {
            MessageSender::User => "user",
            MessageSender::Bot => "bot",
            MessageSender::Agent => "agent",
        };
        sender.clone_into(&mut self.last_sender);
        text.split_at(text.floor_char_boundary(PREVIEW_BYTES)).0.clone_into(&mut self.last_text);
        self.messages = i64::from(message.seq);
    }
}
