//! The `inbox`: a tenant's sessions with their last message, their status and whose they are.
//!
//! It answers which sessions a user has, and which conversations nobody continues. The messages
//! themselves are not in it: a session's actor has them.

use std::{cmp::Reverse, time::Duration};

use amoiq_events::{EventStore, Position, SessionId, TenantId, Timestamp, UserId};
use rusqlite::{Connection, types::ValueRef};

use self::inbox_tables::{COLUMNS, InboxRow};
use crate::{
    database::UnreadableFile,
    projections::{Projection, ProjectionProgress, ViewError, ViewGeneration, ViewStore, ViewTables},
};

pub use inbox_projection::InboxProjection;

mod inbox_projection;
mod inbox_tables;

/// The most sessions of one user that a history is made of; older ones are not read.
const USER_SESSIONS: u32 = 1_000;

/// How long the question waits whether somebody is proven: a message waits for the answer.
const PROOF_PATIENCE: Duration = Duration::from_millis(250);

/// The way to ask the inbox.
#[derive(Clone)]
pub struct InboxView {
    views: ViewStore,
    progress: ProjectionProgress,
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
pub enum IdentityProof {
    /// Only those where a secret key vouched for the user.
    Verified,
    /// Also those where a visitor only said so, before anybody was vouched for.
    Claimed,
    /// Also those where a visitor went by the name when it was another's.
    Disputed,
}

impl IdentityProof {
    /// As it stands in the table; the later the more.
    fn as_stored(self) -> i64 {
        match self {
            Self::Disputed => -1,
            Self::Claimed => 0,
            Self::Verified => 1,
        }
    }

    fn of_stored(number: i64) -> Self {
        match number {
            ..0 => Self::Disputed,
            0 => Self::Claimed,
            1.. => Self::Verified,
        }
    }
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

/// A conversation that is closed, and since when nobody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedConversation {
    /// Whose visitor.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
    /// The time of its newest message.
    pub last_at: Timestamp,
}

impl InboxView {
    /// An inbox over a projection that runs.
    #[must_use]
    pub fn new(views: ViewStore, progress: ProjectionProgress, patience: Duration) -> Self {
        Self { views, progress, patience }
    }

    /// How far the projection has come.
    #[must_use]
    pub fn progress(&self) -> &ProjectionProgress {
        &self.progress
    }

    /// A user's sessions, the one with the newest message first; what was appended up to `after` is
    /// in the answer. Of too many, those where a secret key vouched for the user come before all others.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when the projection does not reach `after` in time, or no tables serve.
    pub async fn sessions_of(
        &self,
        tenant: TenantId,
        user: UserId,
        proof: IdentityProof,
        after: Position,
    ) -> Result<Vec<InboxEntry>, ViewError> {
        self.progress.reach(after, self.patience).await?;
        self.read(after, move |conn, tables| sessions_of(conn, tables, (&tenant, &user), proof)).await
    }

    /// Whether a secret key has vouched for a user in any session; what was appended up to `after` counts.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when the projection does not reach `after` in time, or no tables serve.
    pub(crate) async fn is_proven(
        &self,
        tenant: TenantId,
        user: UserId,
        after: Position,
    ) -> Result<bool, ViewError> {
        self.progress.reach(after, PROOF_PATIENCE).await?;
        self.read(after, move |conn, tables| {
            inbox_tables::is_proven(conn, tables, (tenant.as_str(), user.as_str()))
        })
        .await
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
        let read = move |conn: &Connection, tables| open_conversations(conn, tables, after.as_ref(), limit);
        self.read(Position::START, read).await
    }

    /// Some of the closed conversations without a message since a time, the oldest first, and those after one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn closed_conversations(
        &self,
        after: Option<ClosedConversation>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClosedConversation>, ViewError> {
        let read = move |conn: &Connection, tables| {
            closed_conversations(conn, tables, after.as_ref(), before, limit)
        };
        self.read(Position::START, read).await
    }

    /// Sees to it that the database's files hold nothing that was removed before.
    ///
    /// # Errors
    /// When the database refuses, is being read for long, or is being rebuilt.
    pub(crate) async fn scrub(&self) -> Result<(), ViewError> {
        self.views.scrub().await
    }

    /// What of the database's file does not read now. That says nothing of damage.
    #[must_use]
    pub fn unreadable(&self) -> Option<UnreadableFile> {
        self.views.unreadable()
    }

    /// Brings everything into the database's one file: the service stops.
    ///
    /// # Errors
    /// When the database refuses, or is being read for long.
    pub async fn truncate_log(&self) -> Result<(), ViewError> {
        self.views.truncate_log().await
    }

    /// Takes out what is noted of events that could not be read and are gone.
    ///
    /// # Errors
    /// When the log does not read, or the file does not write.
    pub(crate) async fn sweep_letters(&self, store: &dyn EventStore) -> Result<(), ViewError> {
        self.views.letters().sweep(store).await
    }

    /// Asks the tables that serve, in the moment in which they do. Damage that is met has them made again.
    async fn read<T: Send + 'static>(
        &self,
        after: Position,
        query: impl FnOnce(&Connection, ViewTables) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let read = self.views.read(move |conn| {
            let serving = ViewGeneration::serving(conn, InboxProjection::NAME)?;
            // They may have been thrown away since the projection was said to be there.
            let serving = serving.filter(|serving| serving.position >= after).ok_or(ViewError::Behind)?;
            query(conn, serving.tables)
        });
        read.await.inspect_err(|error| self.progress.doubt(error))
    }
}

fn sessions_of(
    conn: &Connection,
    tables: ViewTables,
    (tenant, user): (&TenantId, &UserId),
    proof: IdentityProof,
) -> Result<Vec<InboxEntry>, ViewError> {
    inbox_tables::check_claims(conn, tables, (tenant.as_str(), user.as_str()))?;
    // Whoever claims a session has made it one: without its row something is lost, and comes first.
    let sql = format!(
        "SELECT users.session, {COLUMNS}
        FROM {} AS users LEFT JOIN {} AS inbox USING (tenant, session)
        WHERE users.tenant = ?1 AND users.user_id = ?2 AND users.verified >= ?3
        ORDER BY inbox.last_position IS NULL DESC, users.verified > 0 DESC, inbox.last_position DESC LIMIT ?4",
        tables.name("inbox_users"),
        tables.name("inbox")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((tenant.as_str(), user.as_str(), proof.as_stored(), USER_SESSIONS))?;
    let mut entries = Vec::new();
    while let Some(found) = rows.next()? {
        let session: String = found.get(0)?;
        if found.get_ref(1)? == ValueRef::Null {
            return Err(ViewError::Damaged(InboxProjection::NAME));
        }
        let row = InboxRow::read(found, 1, tenant.as_str(), &session)?;
        let last_position = Position::from_u64(row.last_position.cast_unsigned());
        entries.push(InboxEntry { session: session_of(&session)?, last_position });
    }
    entries.sort_by_key(|entry| Reverse(entry.last_position));
    Ok(entries)
}

fn open_conversations(
    conn: &Connection,
    tables: ViewTables,
    after: Option<&(TenantId, SessionId)>,
    limit: u32,
) -> Result<Vec<OpenConversation>, ViewError> {
    let sql = open_sql(tables);
    let (tenant, session) =
        after.map(|(tenant, session)| (tenant.as_str(), session.as_str())).unwrap_or_default();
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((tenant, session, limit))?;
    let mut open = Vec::new();
    while let Some(found) = rows.next()? {
        let (tenant, session): (String, String) = (found.get(0)?, found.get(1)?);
        let row = InboxRow::read(found, 2, &tenant, &session)?;
        let tenant = TenantId::try_from(tenant);
        open.push(OpenConversation {
            tenant: tenant.map_err(|_invalid| ViewError::Damaged(InboxProjection::NAME))?,
            session: session_of(&session)?,
            last_at: Timestamp::from_millis(row.last_at),
        });
    }
    Ok(open)
}

fn closed_conversations(
    conn: &Connection,
    tables: ViewTables,
    after: Option<&ClosedConversation>,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<ClosedConversation>, ViewError> {
    let sql = closed_sql(tables);
    let after = after.map_or((i64::MIN, "", ""), |after| {
        (after.last_at.as_millis(), after.tenant.as_str(), after.session.as_str())
    });
    let (last_at, tenant, session) = after;
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((last_at, tenant, session, before.as_millis(), limit))?;
    let mut closed = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant = TenantId::try_from(row.get::<_, String>(1)?);
        closed.push(ClosedConversation {
            tenant: tenant.map_err(|_invalid| ViewError::Damaged(InboxProjection::NAME))?,
            session: session_of(&row.get::<_, String>(2)?)?,
            last_at: Timestamp::from_millis(row.get(0)?),
        });
    }
    Ok(closed)
}

/// Its condition is word for word that of the index: else SQLite does not use it.
fn open_sql(tables: ViewTables) -> String {
    format!(
        "SELECT tenant, session, {COLUMNS} FROM {} AS inbox
        WHERE (tenant, session) > (?1, ?2) AND is_open = 1 ORDER BY tenant, session LIMIT ?3",
        tables.name("inbox")
    )
}

/// As [`open_sql`], of the other index.
fn closed_sql(tables: ViewTables) -> String {
    format!(
        "SELECT last_at, tenant, session FROM {}
        WHERE (last_at, tenant, session) > (?1, ?2, ?3) AND last_at < ?4 AND is_open = 0
        ORDER BY last_at, tenant, session LIMIT ?5",
        tables.name("inbox")
    )
}

fn session_of(text: &str) -> Result<SessionId, ViewError> {
    SessionId::parse(text).map_err(|_invalid| ViewError::Damaged(InboxProjection::NAME))
}

#[cfg(test)]
mod tests;
