//! The inbox: the projection of a tenant's sessions with their newest message, their state and their users.
//!
//! It answers which sessions a user has, which session a conversation is of, and which conversations nobody continues. Messages
//! are not in it: a session's actor has them.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use amoiq_events::{ConversationId, EventLog, Position, SessionId, TenantId, Timestamp, UserId};
use rusqlite::Connection;

use self::inbox_tables::{COLUMNS, InboxRow};
use crate::{
    database::UnreadableFile,
    projections::{Projection, ProjectionProgress, ViewError, ViewGeneration, ViewStore, ViewTables},
};

pub use inbox_projection::InboxProjection;

mod inbox_projection;
mod inbox_tables;

/// The most sessions of one user that a history is made of; older ones are not read.
const USER_SESSIONS: usize = 1_000;

/// How long the question waits whether a user is proven: a message waits for the answer.
const PROOF_PATIENCE: Duration = Duration::from_millis(250);

/// Queries of the inbox. Cheap to clone.
#[derive(Clone)]
pub struct InboxView {
    views: ViewStore,
    progress: ProjectionProgress,
    /// How long a query waits for the projection to reach the log.
    patience: Duration,
}

/// A session of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// The session.
    pub session: SessionId,
    /// The position of its newest message.
    pub last_position: Position,
}

/// How well it is proven that a session is a user's. As a query, it also includes all better proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityProof {
    /// A visitor used the name when it was already another's.
    Disputed,
    /// A visitor said so, before a secret key vouched for anybody of this name.
    Claimed,
    /// A secret key vouched for the user.
    Verified,
}

impl IdentityProof {
    /// As it is stored in the table.
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

/// A conversation, and since when nobody has written in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxConversation {
    /// The tenant.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
    /// The time of its newest message.
    pub last_at: Timestamp,
}

impl InboxView {
    /// Queries of a projection that runs.
    #[must_use]
    pub fn new(views: ViewStore, progress: ProjectionProgress, patience: Duration) -> Self {
        Self { views, progress, patience }
    }

    /// How far the projection has come.
    #[must_use]
    pub fn progress(&self) -> &ProjectionProgress {
        &self.progress
    }

    /// A user's sessions with this proof or a better one, the newest message first; the answer includes everything that
    /// was appended up to `after`. Of more than 1,000 sessions, verified ones come before all others.
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

    /// The session of a conversation that started up to `after`.
    ///
    /// # Errors
    /// As [`Self::sessions_of`].
    pub async fn session_of_conversation(
        &self,
        tenant: TenantId,
        conversation: ConversationId,
        after: Position,
    ) -> Result<Option<SessionId>, ViewError> {
        self.progress.reach(after, self.patience).await?;
        self.read(after, move |conn, tables| {
            let found = inbox_tables::find_conversation(conn, tables, tenant.as_str(), conversation)?;
            found.map(|session| session_of(&session)).transpose()
        })
        .await
    }

    /// Whether a secret key has vouched for a user in any session, up to `after`.
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

    /// A page of the open conversations, by tenant and session: those after a given one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn open_conversations(
        &self,
        after: Option<(TenantId, SessionId)>,
        limit: u32,
    ) -> Result<Vec<InboxConversation>, ViewError> {
        let read = move |conn: &Connection, tables| open_conversations(conn, tables, after.as_ref(), limit);
        self.read(Position::START, read).await
    }

    /// A page of the closed conversations without a message since `before`, the oldest first: those after a given one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn closed_conversations(
        &self,
        after: Option<InboxConversation>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<InboxConversation>, ViewError> {
        let read = move |conn: &Connection, tables| {
            closed_conversations(conn, tables, after.as_ref(), before, limit)
        };
        self.read(Position::START, read).await
    }

    /// Overwrites what was removed before, in every file of the database.
    ///
    /// # Errors
    /// When the database refuses, is being read for long, or is being rebuilt.
    pub(crate) async fn scrub(&self) -> Result<(), ViewError> {
        self.views.scrub().await
    }

    /// The part of the database's file that cannot be read at the moment. That does not mean damage.
    #[must_use]
    pub fn unreadable(&self) -> Option<UnreadableFile> {
        self.views.unreadable()
    }

    /// Moves everything from the write-ahead log into the database's file, because the service stops.
    ///
    /// # Errors
    /// When the database refuses, or is being read for long.
    pub async fn truncate_log(&self) -> Result<(), ViewError> {
        self.views.truncate_log().await
    }

    /// Removes the dead letters of events that are gone from the log.
    ///
    /// # Errors
    /// When the log cannot be read, or the file cannot be written.
    pub(crate) async fn remove_gone_letters(&self, store: &dyn EventLog) -> Result<(), ViewError> {
        self.views.letters().remove_gone(store).await
    }

    /// Queries the tables that serve, in one transaction. Damage that it finds causes a rebuild.
    async fn read<T: Send + 'static>(
        &self,
        after: Position,
        query: impl FnOnce(&Connection, ViewTables) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let read = self.views.read(move |conn| {
            let serving = ViewGeneration::serving(conn, InboxProjection::NAME)?;
            // They may have been dropped since the projection reached `after`.
            let serving = serving.filter(|serving| serving.position >= after).ok_or(ViewError::Behind)?;
            query(conn, serving.tables)
        });
        read.await.inspect_err(|error| self.progress.report_damage(error))
    }
}

fn sessions_of(
    conn: &Connection,
    tables: ViewTables,
    (tenant, user): (&TenantId, &UserId),
    proof: IdentityProof,
) -> Result<Vec<InboxEntry>, ViewError> {
    // The best so far, with the one on top that makes room for a better one: anybody can claim to be a user, so nothing
    // bounds the number of claims.
    let mut best = BinaryHeap::new();
    inbox_tables::for_each_claim(conn, tables, (tenant.as_str(), user.as_str()), |claim| {
        if claim.proof < proof {
            return Ok(());
        }
        let session = session_of(&claim.session)?;
        // The event that claims a session also creates its row: without it a row is lost.
        let row = inbox_tables::find(conn, tables, tenant, &session)?;
        let row = row.ok_or(ViewError::Damaged(InboxProjection::NAME))?;
        let last_position = Position::from_u64(row.last_position.cast_unsigned());
        best.push(Reverse((claim.proof == IdentityProof::Verified, last_position, session)));
        if best.len() > USER_SESSIONS {
            best.pop();
        }
        Ok(())
    })?;
    let entry_of = |Reverse((_, last_position, session))| InboxEntry { session, last_position };
    let mut entries: Vec<_> = best.into_iter().map(entry_of).collect();
    entries.sort_unstable_by_key(|entry| Reverse(entry.last_position));
    Ok(entries)
}

fn open_conversations(
    conn: &Connection,
    tables: ViewTables,
    after: Option<&(TenantId, SessionId)>,
    limit: u32,
) -> Result<Vec<InboxConversation>, ViewError> {
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
        open.push(InboxConversation {
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
    after: Option<&InboxConversation>,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<InboxConversation>, ViewError> {
    let sql = closed_sql(tables);
    let after = after.map_or((i64::MIN, "", ""), |after| {
        (after.last_at.as_millis(), after.tenant.as_str(), after.session.as_str())
    });
    let (last_at, tenant, session) = after;
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((last_at, tenant, session, before, limit))?;
    let mut closed = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant = TenantId::try_from(row.get::<_, String>(1)?);
        closed.push(InboxConversation {
            tenant: tenant.map_err(|_invalid| ViewError::Damaged(InboxProjection::NAME))?,
            session: session_of(&row.get::<_, String>(2)?)?,
            last_at: row.get(0)?,
        });
    }
    Ok(closed)
}

/// Its condition is the index's, word for word: otherwise SQLite does not use the index.
fn open_sql(tables: ViewTables) -> String {
    format!(
        "SELECT tenant, session, {COLUMNS} FROM {} AS inbox
        WHERE (tenant, session) > (?1, ?2) AND is_open = 1 ORDER BY tenant, session LIMIT ?3",
        tables.name("inbox")
    )
}

/// As [`open_sql`], for the other index.
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
