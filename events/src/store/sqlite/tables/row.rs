//! A row of the log: its columns, and the checksum over all of them.

use rusqlite::{Row, Statement, types::ValueRef};

use crate::{
    EventId, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version, codec, store::ReadError,
};

/// The columns in the order that [`decode`] reads and [`insert`] writes.
pub(in crate::store::sqlite) const COLUMNS: &str =
    "position, stream, version, previous, id, type, schema, time, causation, actor, data, checksum";

/// The insert for one row.
pub(in crate::store::sqlite) const INSERT: &str = "INSERT INTO log (position, stream, version, previous, id, type, schema, \
     time, causation, actor, data, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// An event and the position of the one before it in its stream (0 before the first).
pub(in crate::store::sqlite) struct LinkedEvent {
    pub(in crate::store::sqlite) recorded: RecordedEvent,
    pub(in crate::store::sqlite) previous: Position,
}

/// Writes a row through the prepared [`INSERT`].
pub(in crate::store::sqlite) fn insert(
    statement: &mut Statement<'_>,
    recorded: &RecordedEvent,
    previous: Position,
) -> rusqlite::Result<()> {
    let event = &recorded.event;
    statement.execute((
        recorded.position,
        recorded.stream.as_str(),
        recorded.version,
        previous,
        event.id.as_bytes().as_slice(),
        &*event.kind,
        i64::from(event.schema),
        event.time,
        &*event.causation,
        &*event.actor,
        &*event.data,
        i64::from(checksum(recorded, previous)),
    ))?;
    Ok(())
}

/// Reads a row of [`COLUMNS`] and checks it against its checksum.
pub(in crate::store::sqlite) fn decode(row: &Row<'_>) -> Result<LinkedEvent, ReadError> {
    let position = Position::from_u64(integer(row, 0, Position::START)?.cast_unsigned());
    let previous = Position::from_u64(integer(row, 3, position)?.cast_unsigned());
    let schema = u16::try_from(integer(row, 6, position)?).unwrap_or(u16::MAX);
    let id: [u8; 16] = bytes(row, 4, position)?.try_into().unwrap_or_default();
    let recorded = RecordedEvent {
        position,
        stream: StreamName::stored(text(row, 1, position)?),
        version: Version::from_u64(integer(row, 2, position)?.cast_unsigned()),
        event: NewEvent {
            id: EventId::from_uuid(uuid::Uuid::from_bytes(id)),
            kind: codec::intern(text(row, 5, position)?),
            schema,
            time: Timestamp::from_millis(integer(row, 7, position)?),
            causation: text(row, 8, position)?.into(),
            actor: text(row, 9, position)?.into(),
            data: bytes(row, 10, position)?.into(),
        },
    };
    if i64::from(checksum(&recorded, previous)) != integer(row, 11, position)? {
        return Err(corrupt(position, "the checksum does not match"));
    }
    Ok(LinkedEvent { recorded, previous })
}

pub(in crate::store::sqlite) fn corrupt(position: Position, reason: &str) -> ReadError {
    ReadError::EventDamaged { position, reason: reason.to_owned() }
}

/// CRC-32C over every column, with their lengths, so that bytes cannot move between columns.
fn checksum(recorded: &RecordedEvent, previous: Position) -> u32 {
    let event = &recorded.event;
    let parts = [
        recorded.stream.as_str().as_bytes(),
        event.id.as_bytes(),
        event.kind.as_bytes(),
        event.causation.as_bytes(),
        event.actor.as_bytes(),
        &event.data,
    ];
    let values = [
        recorded.position.as_u64(),
        recorded.version.as_u64(),
        previous.as_u64(),
        u64::from(event.schema),
        event.time.as_millis().cast_unsigned(),
    ];
    let lengths = parts.iter().map(|part| part.len() as u64);
    let mut numbers = [[0; 8]; 11];
    let bytes = values.into_iter().chain(lengths).map(u64::to_le_bytes);
    numbers.iter_mut().zip(bytes).for_each(|(number, bytes)| *number = bytes);
    let seed = crc32c::crc32c(numbers.as_flattened());
    parts.iter().fold(seed, |sum, part| crc32c::crc32c_append(sum, part))
}

fn value<'a>(row: &'a Row<'_>, column: usize) -> Result<ValueRef<'a>, ReadError> {
    row.get_ref(column).map_err(|error| ReadError::Unavailable(error.to_string()))
}

fn integer(row: &Row<'_>, column: usize, position: Position) -> Result<i64, ReadError> {
    match value(row, column)? {
        ValueRef::Integer(number) => Ok(number),
        _ => Err(corrupt(position, "a column has another type")),
    }
}

fn text<'a>(row: &'a Row<'_>, column: usize, position: Position) -> Result<&'a str, ReadError> {
    match value(row, column)? {
        ValueRef::Text(bytes) => match str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_not_utf8) => Err(corrupt(position, "a text is not UTF-8")),
        },
        _ => Err(corrupt(position, "a column has another type")),
    }
}

fn bytes<'a>(row: &'a Row<'_>, column: usize, position: Position) -> Result<&'a [u8], ReadError> {
    match value(row, column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(bytes),
        _ => Err(corrupt(position, "a column has another type")),
    }
}
