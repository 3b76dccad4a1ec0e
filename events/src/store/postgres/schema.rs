//! The tables and functions of a log: made by the program, in a schema of their own, and brought up to date by it.
//!
//! Several nodes may open a log that is not there yet: one makes it, under the lock that appends take too. A schema that a
//! newer release made is refused. What is added later has to work for an older release that still runs.

use std::time::Duration;

use tokio_postgres::Row;

use crate::{
    EventId, Position,
    postgres::{CallFailure, DatabaseSession, PostgresOpenError, SchemaName, timing},
    store::Epoch,
};

/// The release of the schema: how many steps lead to it.
const RELEASE: i32 = 1;

/// How long one file of definitions may take.
const MAKE: Duration = Duration::from_mins(1);

/// Whether there is a log. This reads the catalogue as it is; a look-up by name answers from what the session remembers,
/// also after it has waited for another node that made the schema.
const IS_MADE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = '{name}' AND c.relname = 'store')";

/// What makes each release from the one before.
const STEPS: &[&[&str]] = &[&[
    include_str!("sql/tables.sql"),
    include_str!("sql/append.sql"),
    include_str!("sql/epochs.sql"),
    include_str!("sql/remove.sql"),
    include_str!("sql/seek.sql"),
]];

/// What a log says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogState {
    pub(super) epoch: Epoch,
    pub(super) head: Position,
    /// How often events were removed.
    pub(super) removals: i64,
    /// The event at the head, unless it was removed.
    pub(super) newest: Option<EventId>,
}

impl LogState {
    /// Asks for one row of this.
    pub(super) const QUERY: &str = "SELECT s.epoch, h.position, h.removals,
        (SELECT e.id FROM {schema}.events e WHERE e.position = h.position)
        FROM {schema}.store s, {schema}.head h";

    /// The same of a log that has to have what the caller knows: epoch, position, id.
    pub(super) const CHECKED_QUERY: &str = "SELECT s.epoch, h.position, h.removals, NULL::uuid,
        {schema}.check_history($1, $2, $3) FROM {schema}.store s, {schema}.head h";

    pub(super) fn decode(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let (epoch, head): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let newest: Option<uuid::Uuid> = row.try_get(3)?;
        Ok(Self {
            epoch: Epoch(epoch.cast_unsigned()),
            head: Position::from_u64(head.cast_unsigned()),
            removals: row.try_get(2)?,
            newest: newest.map(EventId::from_uuid),
        })
    }
}

/// Makes the schema or brings it up to date. A new log gets this epoch; without one, none is made.
pub(super) async fn prepare(
    session: &mut DatabaseSession,
    schema: &SchemaName,
    new_epoch: Option<Epoch>,
) -> Result<(), PostgresOpenError> {
    let found = release(session, schema).await?;
    if found == 0 && new_epoch.is_none() {
        return Err(PostgresOpenError::NoLog(schema.as_str().to_owned()));
    }
    if found != RELEASE {
        let lock = schema.fill("BEGIN; SELECT pg_advisory_xact_lock({lock})");
        session.execute(&lock, timing::WRITE_CALL).await?;
        // Another node may have done it meanwhile.
        let found = release(session, schema).await?;
        if found > RELEASE {
            return Err(PostgresOpenError::NewerRelease {
                schema: schema.as_str().to_owned(),
                found,
                known: RELEASE,
            });
        }
        make(session, schema, found, new_epoch).await?;
        session.execute("COMMIT", timing::WRITE_CALL).await?;
    }
    Ok(())
}

/// What is in the log.
pub(super) async fn state(
    session: &mut DatabaseSession,
    schema: &SchemaName,
) -> Result<LogState, PostgresOpenError> {
    let query = schema.statement(LogState::QUERY);
    let rows = session.query(&query, &[], timing::WRITE_CALL).await?;
    let row = rows.first().ok_or_else(|| PostgresOpenError::Database("the log has no head".to_owned()))?;
    Ok(LogState::decode(row).map_err(CallFailure::from)?)
}

/// The release that made the schema; 0 when there is none.
async fn release(session: &mut DatabaseSession, schema: &SchemaName) -> Result<i32, CallFailure> {
    let is_made = schema.statement(IS_MADE);
    if !session.value::<bool>(&is_made).await? {
        return Ok(0);
    }
    session.value(&schema.statement("SELECT release FROM {schema}.store")).await
}

async fn make(
    session: &mut DatabaseSession,
    schema: &SchemaName,
    found: i32,
    new_epoch: Option<Epoch>,
) -> Result<(), CallFailure> {
    // Where it exists, whoever may not make schemas can use it.
    if session.value(&schema.statement("SELECT to_regnamespace('{schema}') IS NULL")).await? {
        session.execute(&schema.fill("CREATE SCHEMA {schema}"), timing::WRITE_CALL).await?;
    }
    for texts in STEPS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        for text in *texts {
            session.execute(&schema.fill(text), MAKE).await?;
        }
    }
    let rows = if let Some(new_epoch) = new_epoch.filter(|_| found == 0) {
        format!(
            "INSERT INTO {{schema}}.store (release, epoch) VALUES ({RELEASE}, {0});
             INSERT INTO {{schema}}.epochs (number, epoch, common) VALUES (1, {0}, 0);
             INSERT INTO {{schema}}.head (position, removals) VALUES (0, 0)",
            new_epoch.0.cast_signed()
        )
    } else {
        format!("UPDATE {{schema}}.store SET release = {RELEASE}")
    };
    session.execute(&schema.fill(&rows), timing::WRITE_CALL).await
}
