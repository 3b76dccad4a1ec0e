//! Compares the index with the log: every head names an event that exists, and no stream is left out.
//!
//! The index follows the log up to the position that `meta` calls `indexed`; later heads may be known only to the running
//! service. Counting shows that no stream is left out: the streams in the index have as many events as the log. Only if they
//! do not, missing streams are searched for one by one.
//!
//! The work is done in portions, each in one transaction.

use rusqlite::{Connection, types::Value};

use super::{
    LogBounds, PORTION, is_after,
    links::{LogRows, RowAt},
    marks,
};
use crate::{
    Position, Version,
    store::sqlite::{
        ProgressCallback, WorkProgress,
        maintenance::verification::{DefectKind, StoreVerification},
        tables::{
            schema,
            stream_index::{self, StreamHead},
        },
    },
};

/// The most streams that are named when the counts differ.
const NAMED: i64 = 20;

/// Compares the index with the log.
pub(super) fn check(
    conn: &Connection,
    at: LogBounds,
    found: &mut StoreVerification,
    report: ProgressCallback<'_>,
) -> rusqlite::Result<()> {
    // Whatever is wrong with `meta` was reported; nothing is known about an index of unknown age.
    let (Ok(indexed), Ok(_)) = (schema::meta(conn, "indexed"), schema::meta(conn, "floor")) else {
        return Ok(());
    };
    let upto = Position::from_u64(indexed).min(at.head);
    let counted = heads(conn, upto, found, report)?;
    found.streams += streams_behind(conn, upto, at.head)?;
    marks::check(conn, found, report)?;
    if found.from > Position::START {
        found.note("started after the first event: whether the index has all streams was not checked");
        return Ok(());
    }
    let Some(counted) = counted else { return Ok(()) };
    let moment = conn.unchecked_transaction()?;
    if schema::meta(conn, "floor")? != at.floor.as_u64() {
        found.note("events were removed meanwhile: whether the index has all streams was not checked");
        return Ok(());
    }
    let sql = "SELECT count(*) FROM log WHERE position > ?1 AND position <= ?2";
    let behind: i64 = conn.query_row(sql, (upto, at.head), |row| row.get(0))?;
    if found.events.saturating_sub(behind.cast_unsigned()) == counted {
        return Ok(());
    }
    drop(moment);
    recount(conn, upto, found)
}

/// How many streams there are that a running service knows and has not written into the index yet.
fn streams_behind(conn: &Connection, upto: Position, head: Position) -> rusqlite::Result<u64> {
    let sql = "SELECT count(DISTINCT stream) FROM log WHERE position > ?1 AND position <= ?2
        AND NOT EXISTS (SELECT 1 FROM streams WHERE name = stream)";
    conn.query_row(sql, (upto, head), |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Counts again in one transaction before anything is reported: events may have been removed between two portions.
fn recount(conn: &Connection, upto: Position, found: &mut StoreVerification) -> rusqlite::Result<()> {
    let _moment = conn.unchecked_transaction()?;
    let mut counted = 0;
    let mut cursor = Value::Null;
    loop {
        // What does not fit was reported the first time.
        let portion = portion(conn, upto, &cursor, &mut StoreVerification::default())?;
        let Some(events) = portion.events else { return Ok(()) };
        counted += events;
        match portion.last {
            Some(last) => cursor = last,
            None => break,
        }
    }
    let events = events_up_to(conn, upto)?;
    if events != counted {
        let what = format!("the index knows {counted} events up to {upto}, the log has {events}");
        found.defect(DefectKind::Head, Position::START, "", what);
        name_missing(conn, upto, found)?;
    }
    Ok(())
}

fn events_up_to(conn: &Connection, upto: Position) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM log WHERE position <= ?1";
    conn.query_row(sql, [upto], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Checks each stream's head. Returns how many events up to `upto` they have, if that is known.
fn heads(
    conn: &Connection,
    upto: Position,
    found: &mut StoreVerification,
    report: ProgressCallback<'_>,
) -> rusqlite::Result<Option<u64>> {
    let mut counted = Some(0_u64);
    let mut cursor = Value::Null;
    loop {
        let moment = conn.unchecked_transaction()?;
        let portion = portion(conn, upto, &cursor, found)?;
        drop(moment);
        found.streams += portion.rows;
        counted = counted.zip(portion.events).map(|(sum, events)| sum + events);
        report(WorkProgress { what: "streams", done: found.streams, total: 0 });
        match portion.last {
            Some(last) => cursor = last,
            None => return Ok(counted),
        }
    }
}

/// Some streams that were compared.
struct IndexPortion {
    rows: u64,
    /// How many events they have, if that is known.
    events: Option<u64>,
    /// The last name; `None` when no stream comes after it.
    last: Option<Value>,
}

/// Compares the streams after a name.
fn portion(
    conn: &Connection,
    upto: Position,
    behind: &Value,
    found: &mut StoreVerification,
) -> rusqlite::Result<IndexPortion> {
    const COLUMNS: &str = "SELECT name, version, position, first, checksum FROM streams";
    let mut rows = LogRows::new(conn)?;
    let (mut first, mut next);
    let mut stored = if *behind == Value::Null {
        first = conn.prepare_cached(&format!("{COLUMNS} ORDER BY name LIMIT ?1"))?;
        first.query([PORTION])?
    } else {
        next = conn.prepare_cached(&format!("{COLUMNS} WHERE name > ?1 ORDER BY name LIMIT ?2"))?;
        next.query((behind, PORTION))?
    };
    let mut portion = IndexPortion { rows: 0, events: Some(0), last: None };
    while let Some(row) = stored.next()? {
        portion.rows += 1;
        portion.last = Some(row.get(0)?);
        let Ok((name, head)) = stream_index::stored(row) else {
            let name = row.get::<_, String>(0).unwrap_or_default();
            found.defect(
                DefectKind::Head,
                Position::START,
                &name,
                "the row of this stream is not what was written",
            );
            portion.events = None;
            continue;
        };
        match one(&mut rows, &name, head, upto) {
            Ok(events) => portion.events = portion.events.map(|sum| sum + events),
            Err(what) => {
                found.defect(DefectKind::Head, head.position, &name, what);
                portion.events = None;
            }
        }
    }
    if portion.last.as_ref().is_some_and(|last| !is_after(last, behind)) {
        found.defect(
            DefectKind::Head,
            Position::START,
            "",
            "the streams are not in the order of their names",
        );
        (portion.last, portion.events) = (None, None);
    }
    portion.last.take_if(|_| portion.rows < u64::from(PORTION));
    Ok(portion)
}

/// How many events a stream has up to `upto`, or what does not fit. Only streams that the index knows beyond that, and
/// truncated ones, are followed event by event.
fn one(rows: &mut LogRows<'_>, name: &str, head: StreamHead, upto: Position) -> Result<u64, String> {
    let StreamHead { mut version, mut position, first } = head;
    if first == version.plus(1) {
        return Ok(0);
    }
    if first > version || first == Version::NONE {
        return Err(format!("the index says that it starts at version {first} and ends at {version}"));
    }
    let mut counted = 0;
    loop {
        let previous = match rows.at(position) {
            RowAt::Event { stream, version: stands, previous }
                if stream.as_str() == name && stands == version =>
            {
                previous
            }
            RowAt::Event { .. } => {
                return Err(format!("position {position} is not version {version} of it"));
            }
            RowAt::Damaged => return Err(format!("position {position} is damaged")),
            RowAt::Nothing => return Err(format!("version {version} at position {position} is missing")),
        };
        if position <= upto && first.as_u64() == 1 {
            return Ok(version.as_u64());
        }
        counted += u64::from(position <= upto);
        if version == first {
            return begins(rows, name, previous, first).map(|()| counted);
        }
        (position, version) = (previous, Version::from_u64(version.as_u64() - 1));
    }
}

/// A stream has no event before its start.
fn begins(rows: &mut LogRows<'_>, name: &str, previous: Position, first: Version) -> Result<(), String> {
    match rows.at(previous) {
        RowAt::Event { stream, .. } if stream.as_str() == name => {
            Err(format!("the index says that it starts at version {first}, and an event is before that"))
        }
        _ => Ok(()),
    }
}

/// Finds streams of the log that the index lacks, or of which it has an older state than it should.
fn name_missing(conn: &Connection, upto: Position, found: &mut StoreVerification) -> rusqlite::Result<()> {
    let sql = "SELECT log.stream, min(log.position) FROM log LEFT JOIN streams ON streams.name = log.stream
        WHERE log.position <= ?1 AND (streams.name IS NULL OR streams.version < log.version
            OR streams.first > log.version)
        GROUP BY log.stream LIMIT ?2";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query((upto, NAMED))?;
    while let Some(row) = rows.next()? {
        let (stream, position): (String, Position) = (row.get(0)?, row.get(1)?);
        found.defect(DefectKind::Head, position, &stream, "the index does not contain this event");
    }
    Ok(())
}
