//! The queries that read the log, and how a row becomes an event.

use std::{error::Error, sync::Arc};

use tokio_postgres::{
    Row,
    types::{FromSql, Type, accepts},
};

use crate::{
    EventId, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version, codec,
    postgres::{CallFailure, SchemaName},
    store::{ReadError, postgres::schema::LogState},
};

/// The columns of an event, in the order in which they are decoded.
const COLUMNS: &str =
    "e.position, s.name, e.version, e.id, e.type, e.schema, e.time, e.causation, e.actor, e.data";

/// The texts of all queries that read.
pub(in crate::store::postgres) struct LogQueries {
    /// Position, limit.
    pub(in crate::store::postgres) after: Arc<str>,
    /// Stream, version, limit.
    pub(in crate::store::postgres) forward: Arc<str>,
    pub(in crate::store::postgres) backward: Arc<str>,
    /// Position.
    pub(in crate::store::postgres) at: Arc<str>,
    /// Prefix, the name that all names with it are before, the name to start after, limit.
    pub(in crate::store::postgres) streams: Arc<str>,
    /// Time, head, jitter.
    pub(in crate::store::postgres) position_at: Arc<str>,
    /// Epoch, position and id of the newest event that the caller knows.
    pub(in crate::store::postgres) state: Arc<str>,
}

impl LogQueries {
    pub(in crate::store::postgres) fn new(schema: &SchemaName) -> Self {
        // The events are chosen first, so that no plan looks at streams whose events are not wanted.
        let events = |condition: &str, order: &str| {
            schema.statement(&format!(
                "SELECT {COLUMNS} FROM (SELECT * FROM {{schema}}.events e WHERE {condition}) e
                 JOIN {{schema}}.streams s ON s.stream = e.stream ORDER BY {order}"
            ))
        };
        let stream = "e.stream = (SELECT s.stream FROM {schema}.streams s WHERE s.name = $1 COLLATE \"C\")";
        Self {
            after: events("e.position > $1 ORDER BY e.position LIMIT $2", "e.position"),
            forward: events(
                &format!("{stream} AND e.version >= $2 ORDER BY e.version LIMIT $3"),
                "e.version",
            ),
            backward: events(
                &format!("{stream} AND e.version <= $2 ORDER BY e.version DESC LIMIT $3"),
                "e.version DESC",
            ),
            at: events("e.position = $1", "e.position"),
            streams: schema.statement(
                "SELECT s.name FROM {schema}.streams s
                 WHERE s.name >= $1 COLLATE \"C\" AND s.name < $2 COLLATE \"C\" AND s.name > $3 COLLATE \"C\"
                 ORDER BY s.name LIMIT $4",
            ),
            position_at: schema.statement("SELECT {schema}.position_at($1, $2, $3)"),
            state: schema.statement(LogState::CHECKED_QUERY),
        }
    }
}

/// A position as the database counts: to 2^63 - 1, which is after everything there too.
pub(in crate::store::postgres) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads rows of [`COLUMNS`].
pub(in crate::store::postgres) fn decode(rows: &[Row]) -> Result<Vec<RecordedEvent>, ReadError> {
    rows.iter().map(|row| event(row).map_err(|error| failed(&error))).collect()
}

fn event(row: &Row) -> Result<RecordedEvent, tokio_postgres::Error> {
    let (position, version): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
    let schema: i32 = row.try_get(5)?;
    Ok(RecordedEvent {
        position: Position::from_u64(position.cast_unsigned()),
        stream: StreamName::stored(row.try_get(1)?),
        version: Version::from_u64(version.cast_unsigned()),
        event: NewEvent {
            id: EventId::from_uuid(row.try_get(3)?),
            kind: codec::intern(text(row, 4)?),
            schema: u16::try_from(schema).unwrap_or(u16::MAX),
            time: Timestamp::from_millis(row.try_get(6)?),
            causation: text(row, 7)?.into(),
            actor: text(row, 8)?.into(),
            data: row.try_get::<_, &[u8]>(9)?.into(),
        },
    })
}

/// A text that is stored as its bytes.
struct ByteText<'a>(&'a str);

impl<'a> FromSql<'a> for ByteText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(str::from_utf8(raw)?))
    }

    accepts!(BYTEA);
}

fn text(row: &Row, column: usize) -> Result<&str, tokio_postgres::Error> {
    row.try_get(column).map(|ByteText(text)| text)
}

/// Names of streams.
pub(in crate::store::postgres) fn names(rows: &[Row]) -> Result<Vec<StreamName>, ReadError> {
    let name = |row: &Row| row.try_get(0).map(StreamName::stored).map_err(|error| failed(&error));
    rows.iter().map(name).collect()
}

/// The position in the one row of an answer.
pub(in crate::store::postgres) fn position(rows: &[Row]) -> Result<Position, ReadError> {
    let row = rows.first().ok_or_else(|| ReadError::Unavailable("a query gave no row".to_owned()))?;
    let position: i64 = row.try_get(0).map_err(|error| failed(&error))?;
    Ok(Position::from_u64(position.cast_unsigned()))
}

/// What the log says of itself.
pub(in crate::store::postgres) fn state(rows: &[Row]) -> Result<LogState, CallFailure> {
    let row = rows.first().ok_or_else(|| CallFailure::Refused("a query gave no row".to_owned()))?;
    Ok(LogState::decode(row)?)
}

fn failed(error: &tokio_postgres::Error) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
