//! The index against the log: every head and mark names the event that it says, and no stream is left out.
//!
//! The index follows the log up to the position that `meta` calls `indexed`; behind it heads may be known to
//! the service alone. That none is left out follows from counting: the events of the streams that the index
//! knows are as many as there are. Only when they are not, the streams are looked for one by one.

use rusqlite::Connection;

use super::{
    super::{
        heads::{self, Head},
        schema,
    },
    Bounds, Kind, Report, Verification, Work,
    links::{Rows, Stands},
};
use crate::{Position, Version};

/// How often progress is told.
const EVERY: u64 = 10_000;

/// The most streams that are named when the counts differ.
const NAMED: i64 = 20;

/// Compares the index with the log, as both are at one moment.
pub(super) fn check(
    conn: &Connection,
    at: Bounds,
    found: &mut Verification,
    report: Report<'_>,
) -> rusqlite::Result<()> {
    let _moment = conn.unchecked_transaction()?;
    // Whatever is wrong with `meta` was reported; nothing can be said about an index of unknown age.
    let (Ok(indexed), Ok(floor)) = (schema::meta(conn, "indexed"), schema::meta(conn, "floor")) else {
        return Ok(());
    };
    let upto = Position::from_u64(indexed).min(at.head);
    let counted = heads(conn, upto, found, report)?;
    marks(conn, found, report)?;
    if found.from > Position::START {
        found.note("begun behind the first event: whether the index has all streams was not checked");
    } else if floor != at.floor.as_u64() {
        found.note("events were removed meanwhile: whether the index has all streams was not checked");
    } else if let Some(counted) = counted {
        let sql = "SELECT count(*) FROM log WHERE position > ?1 AND position <= ?2";
        let bounds = (upto.as_u64().cast_signed(), at.head.as_u64().cast_signed());
        let behind: i64 = conn.query_row(sql, bounds, |row| row.get(0))?;
        let events = found.events.saturating_sub(behind.cast_unsigned());
        // Counted anew before anything is said: something may have been removed since it was read.
        if events != counted && events_up_to(conn, upto)? != counted {
            let what = format!("the index knows {counted} events up to {upto}, the log has {events}");
            found.found(Kind::Head, Position::START, "", what);
            name_missing(conn, upto, found)?;
        }
    }
    Ok(())
}

fn events_up_to(conn: &Connection, upto: Position) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM log WHERE position <= ?1";
    conn.query_row(sql, [upto.as_u64().cast_signed()], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Checks each stream's head; tells how many events up to `upto` they have, if that can be said.
fn heads(
    conn: &Connection,
    upto: Position,
    found: &mut Verification,
    report: Report<'_>,
) -> rusqlite::Result<Option<u64>> {
    let mut rows = Rows::new(conn)?;
    let mut statement = conn.prepare("SELECT name, version, position, first, checksum FROM streams")?;
    let mut stored = statement.query([])?;
    let mut counted = Some(0_u64);
    while let Some(row) = stored.next()? {
        found.streams += 1;
        if found.streams.is_multiple_of(EVERY) {
            report(Work { what: "streams", done: found.streams, total: 0 });
        }
        let Ok((name, head)) = heads::stored(row) else {
            let name = row.get::<_, String>(0).unwrap_or_default();
            found.found(Kind::Head, Position::START, &name, "the row of this stream is not what was written");
            counted = None;
            continue;
        };
        match one(&mut rows, &name, head, upto) {
            Ok(events) => counted = counted.map(|sum| sum + events),
            Err(what) => {
                found.found(Kind::Head, head.position, &name, what);
                counted = None;
            }
        }
    }
    Ok(counted)
}

/// How many events of a stream stand up to `upto`; or what does not fit. Only what the index knows ahead of
/// that, and streams that were truncated, are walked through.
fn one(rows: &mut Rows<'_>, name: &str, head: Head, upto: Position) -> Result<u64, String> {
    let Head { mut version, mut position, first } = head;
    if first == version.plus(1) {
        return Ok(0);
    }
    if first > version || first == Version::NONE {
        return Err(format!("it is said to begin at version {first} and to end at {version}"));
    }
    let mut counted = 0;
    loop {
        let previous = match rows.at(position) {
            Stands::Event { stream, version: stands, previous }
                if stream.as_str() == name && stands == version =>
            {
                previous
            }
            Stands::Event { .. } => {
                return Err(format!("position {position} is not version {version} of it"));
            }
            Stands::Damaged => return Err(format!("position {position} is damaged")),
            Stands::Nothing => return Err(format!("version {version} at position {position} is missing")),
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

/// Nothing of a stream may be there before its begin.
fn begins(rows: &mut Rows<'_>, name: &str, previous: Position, first: Version) -> Result<(), String> {
    match rows.at(previous) {
        Stands::Event { stream, .. } if stream.as_str() == name => {
            Err(format!("it is said to begin at version {first}, and an event is before that"))
        }
        _ => Ok(()),
    }
}

fn marks(conn: &Connection, found: &mut Verification, report: Report<'_>) -> rusqlite::Result<()> {
    let mut rows = Rows::new(conn)?;
    let mut statement = conn.prepare("SELECT stream, mark, position, checksum FROM marks")?;
    let mut stored = statement.query([])?;
    let mut done = 0;
    while let Some(row) = stored.next()? {
        done += 1;
        if done % EVERY == 0 {
            report(Work { what: "marks", done, total: 0 });
        }
        let stream: String = row.get(0).unwrap_or_default();
        let number = |column| row.get::<_, i64>(column).unwrap_or_default().cast_unsigned();
        let (mark, position) = (number(1), Position::from_u64(number(2)));
        let is_whole = row.get::<_, i64>(3).is_ok_and(|sum| sum == heads::mark_seal(&stream, mark, position));
        let fits = match rows.at(position) {
            Stands::Event { stream: other, version, .. } => {
                other.as_str() == stream && version.as_u64() == mark.saturating_mul(heads::MARK_EVERY)
            }
            // It was reported where it stands.
            Stands::Damaged => true,
            Stands::Nothing => false,
        };
        if !is_whole || !fits {
            found.found(Kind::Mark, position, &stream, format!("mark {mark} is not what was written"));
        }
    }
    Ok(())
}

/// Streams of the log that the index does not have, or has older than it should.
fn name_missing(conn: &Connection, upto: Position, found: &mut Verification) -> rusqlite::Result<()> {
    let sql = "SELECT log.stream, min(log.position) FROM log LEFT JOIN streams ON streams.name = log.stream
        WHERE log.position <= ?1 AND (streams.name IS NULL OR streams.version < log.version
            OR streams.first > log.version)
        GROUP BY log.stream LIMIT ?2";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query((upto.as_u64().cast_signed(), NAMED))?;
    while let Some(row) = rows.next()? {
        let (stream, position): (String, i64) = (row.get(0)?, row.get(1)?);
        let position = Position::from_u64(position.cast_unsigned());
        found.found(Kind::Head, position, &stream, "an event is outside of what the index says");
    }
    Ok(())
}
