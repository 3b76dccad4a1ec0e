//! From lines of JSON to a store. Positions, versions and ids stay what they were; the epoch is a new one.

use std::{io::BufRead, path::Path};

use rusqlite::Connection;

use super::{
    FillError, Report, Verification, Work,
    fresh::Fresh,
    heads::{Head, Ledger},
    row, schema,
};
use crate::{Ambient, Position, RecordedEvent, Version, store::line};

/// How many events a transaction takes.
const STEP: u64 = 10_000;

/// Fills an empty directory with the events of lines. `total` is how many bytes they have; 0 when nobody
/// knows.
///
/// # Errors
/// A [`FillError`]; the directory is as it was then.
pub fn import(
    lines: &mut dyn BufRead,
    total: u64,
    directory: &Path,
    ambient: &Ambient,
    report: Report<'_>,
) -> Result<Verification, FillError> {
    let fresh = Fresh::new(directory)?;
    let conn = schema::open_writer(&fresh.log, u64::from_le_bytes(ambient.bytes()))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    let mut filling = Filling { conn: &conn, ledger: Ledger::new(), last: Position::START, line: 0 };
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let mut text = String::new();
    let mut done = 0;
    while lines.read_line(&mut text)? > 0 {
        done += text.len() as u64;
        filling.line += 1;
        let line = filling.line;
        let event = line::read(text.trim_end()).map_err(|reason| FillError::Line { line, reason })?;
        filling.add(&event)?;
        text.clear();
        if line.is_multiple_of(STEP) {
            filling.commit()?;
            report(Work { what: "bytes read", done, total });
            conn.execute_batch("BEGIN IMMEDIATE")?;
        }
    }
    // Positions may skip in what was exported: only behind it they do not.
    schema::set_meta(&conn, "floor", filling.last.as_u64())?;
    filling.commit()?;
    filling.ledger.flush_all(&conn, filling.last)?;
    drop(filling);
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    conn.close().map_err(|(_, error)| error)?;
    fresh.finish(report)
}

struct Filling<'a> {
    conn: &'a Connection,
    ledger: Ledger,
    last: Position,
    line: u64,
}

impl Filling<'_> {
    fn add(&mut self, recorded: &RecordedEvent) -> Result<(), FillError> {
        let RecordedEvent { position, stream, version, .. } = recorded;
        let wrong = |what: String| FillError::Order { line: self.line, what };
        if *position <= self.last {
            return Err(wrong(format!("position {position} does not follow {}", self.last)));
        }
        let name = stream.shared();
        let head = match self.ledger.head(self.conn, &name)? {
            Some(head) if head.version.plus(1) == *version => head,
            Some(head) => {
                return Err(wrong(format!("version {version} of {stream} follows {}", head.version)));
            }
            None if *version == Version::NONE => return Err(wrong(format!("version 0 of {stream}"))),
            // A stream that was truncated begins later.
            None => Head { first: *version, ..Head::default() },
        };
        let mut insert = self.conn.prepare_cached(row::INSERT)?;
        row::insert(&mut insert, recorded, head.position)?;
        self.ledger.advance(&name, Head { version: *version, position: *position, first: head.first });
        self.last = *position;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), FillError> {
        self.conn.execute_batch("COMMIT")?;
        self.ledger.committed();
        if self.ledger.is_large() {
            self.ledger.flush_all(self.conn, self.last)?;
        }
        Ok(())
    }
}
