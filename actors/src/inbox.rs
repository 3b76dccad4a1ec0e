//! The `inbox`: a tenant's sessions with their last message, their status and whose they are.
//!
//! It answers which sessions a user has, and which conversations nobody continues. The messages
//! themselves are not in it: a session's actor has them.

use std::{collections::HashMap, time::Duration};

use amoiq_events::{
    Event, Position, RecordedEvent, SessionId, TenantId, Timestamp, UserId, codec,
    session::{MessageCreated, SessionEvent, VisitorIdentified},
    stream::StreamKind,
};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::{
    projector::{Progress, Projection},
    views::{ViewError, Views},
};

/// The most sessions of one user that a history is made of; older ones are not read.
const USER_SESSIONS: u32 = 1_000;

/// How much of the last message a list shows, in bytes.
const PREVIEW_BYTES: usize = 200;

/// The way to ask the inbox.
#[derive(Clone)]
pub struct Inbox {
    views: Views,
    progress: Progress,
    /// How long a question waits for the projection to reach the log.
    patience: Duration,
}

/// A session in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// The session.
    pub session: SessionId,
    /// The position of its newest message.
    pub last_position: Position,
}

/// Whose sessions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Only those where a secret key vouched for the user.
    Verified,
    /// Also those where a visitor only said so.
    Claimed,
}

/// A conversation that is open, and since when nobody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConversation {
    /// Whose visitor.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
    /// The time of its newest message.
    pub last_at: Timestamp,
}

impl Inbox {
    /// An inbox over a projection that runs.
    #[must_use]
    pub fn new(views: Views, progress: Progress, patience: Duration) -> Self {
        Self { views, progress, patience }
    }

    /// How far the projection has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// A user's sessions, the one with the newest message first; what was appended up to `after` is
    /// in the answer.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when the projection does not reach `after` in time.
    pub async fn sessions_of(
        &self,
        tenant: TenantId,
        user: UserId,
        proof: Proof,
        after: Position,
    ) -> Result<Vec<InboxEntry>, ViewError> {
        self.progress.reach(after, self.patience).await?;
        self.views.read(move |conn| sessions_of(conn, &tenant, &user, proof)).await
    }

    /// Some of the open conversations, those after a place in the table, and the place to go on from.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn open_conversations(
        &self,
        after: Option<(TenantId, SessionId)>,
        limit: u32,
    ) -> Result<Vec<OpenConversation>, ViewError> {
        self.views.read(move |conn| open_conversations(conn, after.as_ref(), limit)).await
    }
}

/// A row, as it is folded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Row {
    started_at: i64,
    last_position: i64,
    last_at: i64,
    last_sender: String,
    last_text: String,
    messages: i64,
    is_open: bool,
    user_id: String,
}

/// The projection.
pub struct InboxProjection;

impl Projection for InboxProjection {
    const NAME: &'static str = "inbox";
    const VERSION: u32 = 1;

    fn reset(transaction: &Transaction<'_>) -> Result<(), ViewError> {
        transaction.execute_batch(
            "DROP TABLE IF EXISTS inbox;
            DROP TABLE IF EXISTS inbox_users;
            CREATE TABLE inbox (
                tenant        TEXT    NOT NULL,
                session       TEXT    NOT NULL,
                started_at    INTEGER NOT NULL, -- milliseconds since 1970
                last_position INTEGER NOT NULL,
                last_at       INTEGER NOT NULL, -- milliseconds since 1970
                last_sender   TEXT    NOT NULL,
                last_text     TEXT    NOT NULL, -- its first 200 bytes
                messages      INTEGER NOT NULL,
                is_open       INTEGER NOT NULL,
                user_id       TEXT    NOT NULL, -- empty while the visitor is anonymous
                checksum      INTEGER NOT NULL, -- CRC-32C over all of the above
                PRIMARY KEY (tenant, session)
            ) WITHOUT ROWID;
            CREATE TABLE inbox_users (
                tenant   TEXT    NOT NULL,
                user_id  TEXT    NOT NULL,
                session  TEXT    NOT NULL,
                verified INTEGER NOT NULL,
                PRIMARY KEY (tenant, user_id, session)
            ) WITHOUT ROWID;",
        )?;
        Ok(())
    }

    fn fold(transaction: &Transaction<'_>, events: &[RecordedEvent]) -> Result<(), ViewError> {
        let mut rows: HashMap<(TenantId, SessionId), Row> = HashMap::new();
        for recorded in events {
            let Some(StreamKind::Session(tenant, session)) = recorded.stream.kind() else { continue };
            let Event::Session(event) = codec::decode(recorded)? else { continue };
            let key = (tenant, session);
            if !rows.contains_key(&key) {
                let row = find(transaction, &key.0, &key.1)?.unwrap_or_default();
                rows.insert(key.clone(), row);
            }
            if let SessionEvent::VisitorIdentified(VisitorIdentified {
                user_id: Some(user), verified, ..
            }) = &event
            {
                add_user(transaction, &key, user, *verified)?;
            }
            if let Some(row) = rows.get_mut(&key) {
                row.apply(&event, recorded);
            }
        }
        rows.iter().try_for_each(|((tenant, session), row)| store(transaction, tenant, session, row))
    }
}

impl Row {
    fn apply(&mut self, event: &SessionEvent, recorded: &RecordedEvent) {
        match event {
            SessionEvent::Started(_) => self.started_at = recorded.event.time.as_millis(),
            SessionEvent::VisitorIdentified(visitor) => {
                if let Some(user) = &visitor.user_id {
                    user.as_str().clone_into(&mut self.user_id);
                }
            }
            SessionEvent::ConversationStarted(_) | SessionEvent::ConversationReopened(_) => {
                self.is_open = true;
            }
            SessionEvent::ConversationClosed(_) => self.is_open = false,
            SessionEvent::MessageCreated(message) => self.add(message, recorded),
        }
    }

    fn add(&mut self, message: &MessageCreated, recorded: &RecordedEvent) {
        let text = message.text.as_str();
        self.last_position = recorded.position.as_u64().cast_signed();
        self.last_at = recorded.event.time.as_millis();
        format!("{:?}", message.sender).to_lowercase().clone_into(&mut self.last_sender);
        text.split_at(text.floor_char_boundary(PREVIEW_BYTES)).0.clone_into(&mut self.last_text);
        self.messages = i64::from(message.seq);
    }

    fn checksum(&self, tenant: &TenantId, session: &SessionId) -> i64 {
        let numbers =
            [self.started_at, self.last_position, self.last_at, self.messages, i64::from(self.is_open)];
        let texts = [tenant.as_str(), session.as_str(), &self.last_sender, &self.last_text, &self.user_id];
        let sum = numbers.iter().fold(0, |sum, number| crc32c::crc32c_append(sum, &number.to_le_bytes()));
        let with_text = |sum, text: &&str| {
            let sum = crc32c::crc32c_append(sum, &text.len().to_le_bytes());
            crc32c::crc32c_append(sum, text.as_bytes())
        };
        i64::from(texts.iter().fold(sum, with_text))
    }
}

fn find(conn: &Connection, tenant: &TenantId, session: &SessionId) -> Result<Option<Row>, ViewError> {
    let sql = "SELECT started_at, last_position, last_at, last_sender, last_text, messages, is_open,
        user_id, checksum FROM inbox WHERE tenant = ?1 AND session = ?2";
    let found = conn.prepare_cached(sql)?.query_row((tenant.as_str(), session.as_str()), |row| {
        let stored = Row {
            started_at: row.get(0)?,
            last_position: row.get(1)?,
            last_at: row.get(2)?,
            last_sender: row.get(3)?,
            last_text: row.get(4)?,
            messages: row.get(5)?,
            is_open: row.get(6)?,
            user_id: row.get(7)?,
        };
        Ok((stored, row.get::<_, i64>(8)?))
    });
    match found.optional()? {
        Some((row, checksum)) if row.checksum(tenant, session) != checksum => {
            Err(ViewError::Damaged(InboxProjection::NAME))
        }
        found => Ok(found.map(|(row, _)| row)),
    }
}

fn store(conn: &Connection, tenant: &TenantId, session: &SessionId, row: &Row) -> Result<(), ViewError> {
    let sql = "INSERT OR REPLACE INTO inbox (tenant, session, started_at, last_position, last_at,
        last_sender, last_text, messages, is_open, user_id, checksum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    conn.prepare_cached(sql)?.execute((
        tenant.as_str(),
        session.as_str(),
        row.started_at,
        row.last_position,
        row.last_at,
        &row.last_sender,
        &row.last_text,
        row.messages,
        row.is_open,
        &row.user_id,
        row.checksum(tenant, session),
    ))?;
    Ok(())
}

fn add_user(
    conn: &Connection,
    (tenant, session): &(TenantId, SessionId),
    user: &UserId,
    verified: bool,
) -> Result<(), ViewError> {
    let sql = "INSERT INTO inbox_users (tenant, user_id, session, verified) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO UPDATE SET verified = max(verified, excluded.verified)";
    conn.prepare_cached(sql)?.execute((tenant.as_str(), user.as_str(), session.as_str(), verified))?;
    Ok(())
}

fn sessions_of(
    conn: &Connection,
    tenant: &TenantId,
    user: &UserId,
    proof: Proof,
) -> Result<Vec<InboxEntry>, ViewError> {
    let sql = "SELECT session, last_position FROM inbox_users JOIN inbox USING (tenant, session)
        WHERE tenant = ?1 AND inbox_users.user_id = ?2 AND verified >= ?3
        ORDER BY last_position DESC LIMIT ?4";
    let mut statement = conn.prepare_cached(sql)?;
    let verified = proof == Proof::Verified;
    let mut rows = statement.query((tenant.as_str(), user.as_str(), verified, USER_SESSIONS))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let last_position = Position::from_u64(row.get::<_, i64>(1)?.cast_unsigned());
        entries.push(InboxEntry { session: session_of(&row.get::<_, String>(0)?)?, last_position });
    }
    Ok(entries)
}

fn open_conversations(
    conn: &Connection,
    after: Option<&(TenantId, SessionId)>,
    limit: u32,
) -> Result<Vec<OpenConversation>, ViewError> {
    let sql = "SELECT tenant, session, last_at FROM inbox
        WHERE (tenant, session) > (?1, ?2) AND is_open ORDER BY tenant, session LIMIT ?3";
    let (tenant, session) =
        after.map(|(tenant, session)| (tenant.as_str(), session.as_str())).unwrap_or_default();
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((tenant, session, limit))?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant = TenantId::try_from(row.get::<_, String>(0)?);
        open.push(OpenConversation {
            tenant: tenant.map_err(|_invalid| ViewError::Damaged(InboxProjection::NAME))?,
            session: session_of(&row.get::<_, String>(1)?)?,
            last_at: Timestamp::from_millis(row.get(2)?),
        });
    }
    Ok(open)
}

fn session_of(text: &str) -> Result<SessionId, ViewError> {
    SessionId::parse(text).map_err(|_invalid| ViewError::Damaged(InboxProjection::NAME))
}
