//! The rows of the inbox as they are stored. Each has a CRC-32C over all its columns, so a damaged row is never read.

use amoiq_events::{ConversationId, SessionId, TenantId, store::sqlite::row_checksum};
use rusqlite::{CachedStatement, Connection, OptionalExtension, types::ValueRef};

use super::{IdentityProof, InboxProjection};
use crate::projections::{Projection, ViewError, ViewTables};

/// A user's claim to a session.
pub(super) struct InboxClaim {
    pub(super) session: String,
    pub(super) proof: IdentityProof,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct InboxRow {
    pub(super) started_at: i64,
    pub(super) last_position: i64,
    pub(super) last_at: i64,
    pub(super) last_sender: String,
    pub(super) last_text: String,
    pub(super) messages: i64,
    pub(super) is_open: bool,
    pub(super) user_id: String,
}

pub(super) fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
    let (inbox, users) = (tables.name("inbox"), tables.name("inbox_users"));
    let conversations = tables.name("inbox_conversations");
    conn.execute_batch(&format!(
        "CREATE TABLE {inbox} (
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
        -- Most conversations are closed, and few of them are old.
        CREATE INDEX {inbox}_open ON {inbox} (tenant, session) WHERE is_open = 1;
        CREATE INDEX {inbox}_closed ON {inbox} (last_at, tenant, session) WHERE is_open = 0;
        CREATE TABLE {users} (
            tenant   TEXT    NOT NULL,
            user_id  TEXT    NOT NULL,
            session  TEXT    NOT NULL,
            verified INTEGER NOT NULL, -- 1: proven; 0: claimed; -1: claimed, and another's
            checksum INTEGER NOT NULL, -- CRC-32C over all of the above
            PRIMARY KEY (tenant, user_id, session)
        ) WITHOUT ROWID;
        -- However many claim to be a user, a proof is found with one search.
        CREATE INDEX {users}_proven ON {users} (tenant, user_id) WHERE verified > 0;
        CREATE INDEX {users}_by_session ON {users} (tenant, session);
        CREATE TABLE {conversations} (
            tenant       TEXT    NOT NULL,
            conversation BLOB    NOT NULL, -- the number in its id
            session      TEXT    NOT NULL,
            checksum     INTEGER NOT NULL, -- CRC-32C over all of the above
            PRIMARY KEY (tenant, conversation)
        ) WITHOUT ROWID;
        CREATE INDEX {conversations}_by_session ON {conversations} (tenant, session);"
    ))?;
    Ok(())
}

/// The columns that [`InboxRow::read`] reads, after those that the query selects itself.
pub(super) const COLUMNS: &str = "inbox.started_at, inbox.last_position, inbox.last_at, inbox.last_sender, \
                                  inbox.last_text, inbox.messages, inbox.is_open, inbox.user_id, inbox.checksum";

impl InboxRow {
    /// Reads [`COLUMNS`], the first of which is column `first`.
    pub(super) fn read(
        row: &rusqlite::Row<'_>,
        first: usize,
        tenant: &str,
        session: &str,
    ) -> Result<Self, ViewError> {
        let stored = Self {
            started_at: row.get(first)?,
            last_position: row.get(first + 1)?,
            last_at: row.get(first + 2)?,
            last_sender: row.get(first + 3)?,
            last_text: row.get(first + 4)?,
            messages: row.get(first + 5)?,
            is_open: row.get(first + 6)?,
            user_id: row.get(first + 7)?,
        };
        sound(row.get(first + 8)?, stored.checksum(tenant, session)).map(|()| stored)
    }

    /// Over the columns in the table's order.
    fn checksum(&self, tenant: &str, session: &str) -> i64 {
        row_checksum::checksum([
            tenant.into(),
            session.into(),
            ValueRef::Integer(self.started_at),
            ValueRef::Integer(self.last_position),
            ValueRef::Integer(self.last_at),
            self.last_sender.as_str().into(),
            self.last_text.as_str().into(),
            ValueRef::Integer(self.messages),
            ValueRef::Integer(self.is_open.into()),
            self.user_id.as_str().into(),
        ])
    }
}

/// Removes a session with its conversation and every claim to it.
pub(super) fn remove(
    conn: &Connection,
    tables: ViewTables,
    tenant: &TenantId,
    session: &SessionId,
) -> Result<(), ViewError> {
    let conversations = has_conversations(tables).then_some("inbox_conversations");
    for table in ["inbox", "inbox_users"].into_iter().chain(conversations) {
        let sql = format!("DELETE FROM {} WHERE tenant = ?1 AND session = ?2", tables.name(table));
        conn.prepare_cached(&sql)?.execute((tenant.as_str(), session.as_str()))?;
    }
    Ok(())
}

/// Finds a session's row.
pub(super) fn find(
    conn: &Connection,
    tables: ViewTables,
    tenant: &TenantId,
    session: &SessionId,
) -> Result<Option<InboxRow>, ViewError> {
    let name = tables.name("inbox");
    let sql = format!("SELECT {COLUMNS} FROM {name} AS inbox WHERE tenant = ?1 AND session = ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((tenant.as_str(), session.as_str()))?;
    let found = rows.next()?.map(|row| InboxRow::read(row, 0, tenant.as_str(), session.as_str()));
    found.transpose()
}

/// Writes sessions' rows.
pub(super) struct InboxRows<'a> {
    insert: CachedStatement<'a>,
    update: CachedStatement<'a>,
}

impl<'a> InboxRows<'a> {
    pub(super) fn prepare(conn: &'a Connection, tables: ViewTables) -> Result<Self, ViewError> {
        let table = tables.name("inbox");
        Ok(Self {
            insert: conn.prepare_cached(&format!(
                "INSERT OR REPLACE INTO {table} (tenant, session, is_open, started_at, last_position, last_at, \
                 last_sender, last_text, messages, user_id, checksum)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ))?,
            // It does not set `is_open`, so that the index of open conversations is not written with each message.
            update: conn.prepare_cached(&format!(
                "UPDATE {table} SET started_at = ?4, last_position = ?5, last_at = ?6, last_sender = ?7, \
                 last_text = ?8, messages = ?9, user_id = ?10, checksum = ?11
                 WHERE tenant = ?1 AND session = ?2 AND is_open = ?3"
            ))?,
        })
    }

    /// Writes a row. `stored_open` is whether the one in the table is open, if there is one.
    pub(super) fn store(
        &mut self,
        (tenant, session): (&TenantId, &SessionId),
        row: &InboxRow,
        stored_open: Option<bool>,
    ) -> Result<(), ViewError> {
        let statement = if stored_open == Some(row.is_open) { &mut self.update } else { &mut self.insert };
        let written = statement.execute((
            tenant.as_str(),
            session.as_str(),
            row.is_open,
            row.started_at,
            row.last_position,
            row.last_at,
            &row.last_sender,
            &row.last_text,
            row.messages,
            &row.user_id,
            row.checksum(tenant.as_str(), session.as_str()),
        ))?;
        if written == 1 { Ok(()) } else { Err(ViewError::Damaged(InboxProjection::NAME)) }
    }
}

/// How well a user's claim to a session is proven; `None` without a claim.
pub(super) fn find_claim(
    conn: &Connection,
    tables: ViewTables,
    (tenant, user, session): (&str, &str, &str),
) -> Result<Option<i64>, ViewError> {
    let sql = format!(
        "SELECT verified, checksum FROM {} WHERE tenant = ?1 AND user_id = ?2 AND session = ?3",
        tables.name("inbox_users")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_row((tenant, user, session), |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((verified, sum)) = found.optional()? else { return Ok(None) };
    sound(sum, claim_checksum(tenant, user, session, verified)).map(|()| Some(verified))
}

/// Whether a user is proven in any session. The condition is the index's, word for word.
pub(super) fn is_proven(
    conn: &Connection,
    tables: ViewTables,
    (tenant, user): (&str, &str),
) -> Result<bool, ViewError> {
    let sql = format!(
        "SELECT session, verified, checksum FROM {} WHERE tenant = ?1 AND user_id = ?2 AND verified > 0 LIMIT 1",
        tables.name("inbox_users")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((tenant, user))?;
    let Some(found) = rows.next()? else { return Ok(false) };
    let session: String = found.get(0)?;
    sound(found.get(2)?, claim_checksum(tenant, user, &session, found.get(1)?)).map(|()| true)
}

/// Writes a user's claim to a session.
pub(super) fn store_claim(
    conn: &Connection,
    tables: ViewTables,
    (tenant, user, session): (&str, &str, &str),
    verified: i64,
) -> Result<(), ViewError> {
    let sql = format!(
        "INSERT OR REPLACE INTO {} (tenant, user_id, session, verified, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        tables.name("inbox_users")
    );
    let sum = claim_checksum(tenant, user, session, verified);
    conn.prepare_cached(&sql)?.execute((tenant, user, session, verified, sum))?;
    Ok(())
}

/// Calls `visit` with each of a user's claims to sessions. A claim whose key is damaged is stored elsewhere, or ends the
/// search beside it, so the neighbours on both sides are checked too.
pub(super) fn for_each_claim(
    conn: &Connection,
    tables: ViewTables,
    (tenant, user): (&str, &str),
    mut visit: impl FnMut(InboxClaim) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    for sql in [before_claims_sql(tables), claims_sql(tables)] {
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query((tenant, user))?;
        while let Some(found) = rows.next()? {
            let (of, claimant): (String, String) = (found.get(0)?, found.get(1)?);
            let (session, verified): (String, i64) = (found.get(2)?, found.get(3)?);
            sound(found.get(4)?, claim_checksum(&of, &claimant, &session, verified))?;
            if (of.as_str(), claimant.as_str()) != (tenant, user) {
                break;
            }
            visit(InboxClaim { session, proof: IdentityProof::of_stored(verified) })?;
        }
    }
    Ok(())
}

/// What is stored before a user's claims, the nearest first.
pub(super) fn before_claims_sql(tables: ViewTables) -> String {
    format!(
        "SELECT tenant, user_id, session, verified, checksum FROM {} WHERE (tenant, user_id) < (?1, ?2)
        ORDER BY tenant DESC, user_id DESC, session DESC",
        tables.name("inbox_users")
    )
}

/// A user's claims, and what is stored after them.
pub(super) fn claims_sql(tables: ViewTables) -> String {
    format!(
        "SELECT tenant, user_id, session, verified, checksum FROM {} WHERE (tenant, user_id) >= (?1, ?2)
        ORDER BY tenant, user_id, session",
        tables.name("inbox_users")
    )
}

fn claim_checksum(tenant: &str, user: &str, session: &str, verified: i64) -> i64 {
    row_checksum::checksum([tenant.into(), user.into(), session.into(), ValueRef::Integer(verified)])
}

/// The first version that knows the session of a conversation.
const WITH_CONVERSATIONS: u32 = 5;

/// Whether these tables know the session of a conversation.
pub(super) fn has_conversations(tables: ViewTables) -> bool {
    tables.version() >= WITH_CONVERSATIONS
}

/// Writes which session a conversation is of.
pub(super) fn store_conversation(
    conn: &Connection,
    tables: ViewTables,
    (tenant, session): (&str, &str),
    conversation: ConversationId,
) -> Result<(), ViewError> {
    let sql = format!(
        "INSERT OR REPLACE INTO {} (tenant, conversation, session, checksum) VALUES (?1, ?2, ?3, ?4)",
        tables.name("inbox_conversations")
    );
    let sum = conversation_checksum(tenant, conversation, session);
    conn.prepare_cached(&sql)?.execute((tenant, conversation.as_bytes(), session, sum))?;
    Ok(())
}

/// The session of a conversation.
pub(super) fn find_conversation(
    conn: &Connection,
    tables: ViewTables,
    tenant: &str,
    conversation: ConversationId,
) -> Result<Option<String>, ViewError> {
    if !has_conversations(tables) {
        return Err(ViewError::Behind);
    }
    let sql = format!(
        "SELECT session, checksum FROM {} WHERE tenant = ?1 AND conversation = ?2",
        tables.name("inbox_conversations")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement
        .query_row((tenant, conversation.as_bytes()), |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
    let Some((session, sum)) = found.optional()? else { return Ok(None) };
    sound(sum, conversation_checksum(tenant, conversation, &session)).map(|()| Some(session))
}

fn conversation_checksum(tenant: &str, conversation: ConversationId, session: &str) -> i64 {
    row_checksum::checksum([tenant.into(), ValueRef::Blob(conversation.as_bytes()), session.into()])
}

/// Whether a row is what was written.
pub(super) fn sound(stored: i64, computed: i64) -> Result<(), ViewError> {
    if stored == computed { Ok(()) } else { Err(ViewError::Damaged(InboxProjection::NAME)) }
}
