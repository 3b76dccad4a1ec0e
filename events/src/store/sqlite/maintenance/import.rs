//! From lines of JSON to a store. Positions, versions and ids stay the same; the epoch is new.
//!
//! The last line says how many events there are: an export that failed, or whose end was lost, is refused.

use std::io::BufRead;

use rusqlite::Connection;

use crate::{
    Ambient, RecordedEvent, Version,
    store::{
        line::{self, ExportEnd},
        sqlite::{
            FillError, ProgressCallback, StoreFiles, StoreVerification, WorkProgress,
            maintenance::fresh::UnfinishedStore,
            tables::{
                opening, row, schema,
                stream_index::{StreamHead, StreamIndex},
            },
        },
    },
};

/// How many events one transaction contains.
const STEP: u64 = 10_000;

/// Whether an end line is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndLinePolicy {
    /// It is: this release writes one.
    IsDemanded,
    /// It is not: older releases wrote none. If there is one, it is checked all the same.
    MayLack,
}

/// Where events are imported from.
pub struct ImportLines<'a> {
    /// The lines, with one event each.
    pub reader: &'a mut dyn BufRead,
    /// How many bytes there are; 0 if unknown.
    pub total_bytes: u64,
    /// Whether an end line is required.
    pub end_line: EndLinePolicy,
}

impl StoreFiles<'_> {
    /// Fills the empty directory with the events of lines.
    ///
    /// # Errors
    /// A [`FillError`]; then the directory is as it was.
    pub fn import(
        self,
        lines: ImportLines<'_>,
        ambient: &Ambient,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, FillError> {
        let ImportLines { reader, total_bytes: total, end_line } = lines;
        let fresh = UnfinishedStore::new(self)?;
        let conn = opening::open_writer(&fresh.log, u64::from_le_bytes(ambient.bytes()))?;
        conn.pragma_update(None, "synchronous", "OFF")?;
        conn.pragma_update(None, "wal_autocheckpoint", 4_000)?;
        let mut filling = ImportTarget {
            conn: &conn,
            ledger: StreamIndex::new(),
            read: ExportEnd::default(),
            line: 0,
            has_ended: false,
        };
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut text = String::new();
        let mut done = 0;
        while reader.read_line(&mut text)? > 0 {
            done += text.len() as u64;
            filling.line += 1;
            filling.take(text.trim_end())?;
            text.clear();
            if filling.line.is_multiple_of(STEP) {
                filling.commit()?;
                report(WorkProgress { what: "bytes read", done, total });
                conn.execute_batch("BEGIN IMMEDIATE")?;
            }
        }
        filling.is_all(end_line)?;
        // Exported positions may have gaps; those after the last of them have none.
        schema::set_meta(&conn, "floor", filling.read.position.as_u64())?;
        filling.commit()?;
        filling.ledger.flush_all(&conn, filling.read.position)?;
        drop(filling);
        conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        conn.close().map_err(|(_, error)| error)?;
        fresh.finish(report)
    }
}

struct ImportTarget<'a> {
    conn: &'a Connection,
    ledger: StreamIndex,
    /// What the end line has to contain.
    read: ExportEnd,
    line: u64,
    has_ended: bool,
}

impl ImportTarget<'_> {
    fn take(&mut self, text: &str) -> Result<(), FillError> {
        let line = self.line;
        let wrong = |what: String| FillError::Order { line, what };
        if self.has_ended {
            return Err(wrong("it comes after the end line".to_owned()));
        }
        let reason = match line::read(text) {
            Ok(event) => return self.add(&event),
            Err(reason) => reason,
        };
        let said = line::read_end(text).ok_or(FillError::Line { line, reason })?;
        if said != self.read {
            let (ExportEnd { events, position }, read) = (said, self.read);
            return Err(wrong(format!(
                "{events} events were written, the last at position {position}; {} were read, the last at {}",
                read.events, read.position
            )));
        }
        self.has_ended = true;
        Ok(())
    }

    fn is_all(&self, end_line: EndLinePolicy) -> Result<(), FillError> {
        if self.read.events == 0 {
            return Err(FillError::NoEvent);
        }
        if !self.has_ended && end_line == EndLinePolicy::IsDemanded {
            return Err(FillError::NoEnd { line: self.line });
        }
        Ok(())
    }

    fn add(&mut self, recorded: &RecordedEvent) -> Result<(), FillError> {
        let RecordedEvent { position, stream, version, .. } = recorded;
        let wrong = |what: String| FillError::Order { line: self.line, what };
        let last = self.read.position;
        if *position <= last {
            return Err(wrong(format!("position {position} does not follow {last}")));
        }
        let name = stream.shared();
        let head = match self.ledger.head(self.conn, &name)? {
            Some(head) if head.version.plus(1) == *version => head,
            Some(head) => {
                return Err(wrong(format!("version {version} of {stream} follows {}", head.version)));
            }
            None if *version == Version::NONE => return Err(wrong(format!("version 0 of {stream}"))),
            // A stream that was truncated starts later.
            None => StreamHead { first: *version, ..StreamHead::default() },
        };
        let mut insert = self.conn.prepare_cached(row::INSERT)?;
        row::insert(&mut insert, recorded, head.position)?;
        self.ledger.advance(&name, StreamHead { version: *version, position: *position, first: head.first });
        self.read = ExportEnd { events: self.read.events + 1, position: *position };
        Ok(())
    }

    fn commit(&mut self) -> Result<(), FillError> {
        self.conn.execute_batch("COMMIT")?;
        self.ledger.committed();
        if self.ledger.is_large() {
            self.ledger.flush_all(self.conn, self.read.position)?;
        }
        Ok(())
    }
}
