//! The tables and functions of a log, and what it says of itself.

use tokio_postgres::Row;

use crate::{
    EventId, Position,
    postgres::{CallFailure, DatabaseSession, PostgresOpenError, SchemaName, SchemaPart, timing},
    store::Epoch,
};

/// The tables and functions.
static LOG_PART: SchemaPart = SchemaPart {
    name: "log",
    steps: &[&[
        include_str!("sql/tables.sql"),
        include_str!("sql/append.sql"),
        include_str!("sql/epochs.sql"),
        include_str!("sql/remove.sql"),
        include_str!("sql/seek.sql"),
    ]],
};

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

/// Makes the log or brings it up to date. A new log gets this epoch; without one, none is made.
pub(super) async fn prepare(
    session: &mut DatabaseSession,
    schema: &SchemaName,
    new_epoch: Option<Epoch>,
) -> Result<(), PostgresOpenError> {
    let Some(new_epoch) = new_epoch else {
        if LOG_PART.release(session, schema).await? == 0 {
            return Err(PostgresOpenError::NoLog(schema.as_str().to_owned()));
        }
        return LOG_PART.prepare(session, schema, "").await;
    };
    let first_rows = format!(
        "INSERT INTO {{schema}}.store (epoch) VALUES ({0});
         INSERT INTO {{schema}}.epochs (number, epoch, common) VALUES (1, {0}, 0);
         INSERT INTO {{schema}}.head (position, removals) VALUES (0, 0)",
        new_epoch.0.cast_signed()
    );
    LOG_PART.prepare(session, schema, &first_rows).await
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
