//! An empty directory that is filled with the events of another log. Positions, versions and ids stay the same.
//!
//! From lines it is all or nothing: what was interrupted starts anew. From another log it goes on where it was, so what was
//! committed also has to survive a power failure.

use std::sync::Arc;

use rusqlite::Connection;

use crate::{
    Ambient, Position, RecordedEvent, Version,
    store::{
        Epoch, EventStore,
        sqlite::{
            FillError, OpenError, ProgressCallback, ReadOnlyStore, StoreFiles, StoreVerification,
            maintenance::fresh::{SOURCE, UnfinishedStore},
            tables::{
                event_query, index_build, opening, row, schema,
                stream_index::{StreamHead, StreamIndex},
            },
        },
        transfer::{
            filling::{FillingError, LogFilling},
            line_import::ImportLines,
        },
    },
};

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
        let mut filling = SqliteFilling::begin(self, ambient, None)?;
        lines.fill(&mut filling, report)?;
        filling.complete(report)
    }
}

/// A log that is being filled.
pub struct SqliteFilling<'a> {
    conn: Connection,
    index: StreamIndex,
    epoch: Epoch,
    /// Of the newest event.
    last: Position,
    fresh: UnfinishedStore<'a>,
}

impl<'a> SqliteFilling<'a> {
    /// Starts to fill an empty directory, or goes on with what an interrupted filling from the same source left there.
    ///
    /// # Errors
    /// A [`FillError`]; then the directory is as it was.
    pub fn begin(files: StoreFiles<'a>, ambient: &Ambient, source: Option<Epoch>) -> Result<Self, FillError> {
        let fresh = UnfinishedStore::new(files, source)?;
        let conn = opening::open_writer(&fresh.log, u64::from_le_bytes(ambient.bytes()))?;
        // Lines are read again from the first.
        let synchronous = if source.is_some() { "NORMAL" } else { "OFF" };
        conn.pragma_update(None, "synchronous", synchronous)?;
        conn.pragma_update(None, "wal_autocheckpoint", 4_000)?;
        if let Some(source) = source {
            schema::set_meta(&conn, SOURCE, source.0)?;
        }
        let last = event_query::last_position(&conn)?;
        // Streams may start late, so what the index lacks is not found from its end on.
        index_build::reset_index(&conn, last)?;
        let index = index_build::index(&conn)?;
        let epoch = Epoch(schema::meta(&conn, "epoch")?);
        Ok(Self { conn, index, epoch, last, fresh })
    }

    fn insert_all(&mut self, events: &[RecordedEvent]) -> Result<(), FillingError> {
        self.conn.execute_batch("BEGIN IMMEDIATE").map_err(refused)?;
        let inserted = events.iter().enumerate().try_for_each(|(at, event)| self.insert(at, event));
        let ended = inserted.and_then(|()| self.conn.execute_batch("COMMIT").map_err(refused));
        if ended.is_err() {
            self.index.failed();
            // It may have ended already.
            drop(self.conn.execute_batch("ROLLBACK"));
            return ended;
        }
        self.index.committed();
        self.last = events.last().map_or(self.last, |event| event.position);
        if self.index.is_large() {
            self.index.flush_all(&self.conn, self.last).map_err(refused)?;
        }
        Ok(())
    }

    fn insert(&mut self, index: usize, recorded: &RecordedEvent) -> Result<(), FillingError> {
        let RecordedEvent { position, stream, version, .. } = recorded;
        let name = stream.shared();
        let misfit = |what: String| FillingError::Misfit { index, what };
        let head = match self.index.head(&self.conn, &name).map_err(refused)? {
            Some(head) if head.version.plus(1) == *version => head,
            Some(head) => {
                return Err(misfit(format!("version {version} of {stream} follows {}", head.version)));
            }
            None if *version == Version::NONE => return Err(misfit(format!("version 0 of {stream}"))),
            // A stream that was truncated starts later.
            None => StreamHead { first: *version, ..StreamHead::default() },
        };
        let mut insert = self.conn.prepare_cached(row::INSERT).map_err(refused)?;
        row::insert(&mut insert, recorded, head.position).map_err(refused)?;
        self.index.advance(&name, StreamHead { version: *version, position: *position, first: head.first });
        Ok(())
    }

    /// Writes what readers need beside the events.
    fn write_index(&mut self) -> rusqlite::Result<()> {
        // Positions may have gaps; those after the last of them have none.
        schema::set_meta(&self.conn, "floor", self.last.as_u64())?;
        self.index.flush_all(&self.conn, self.last)
    }

    fn complete(mut self, report: ProgressCallback<'_>) -> Result<StoreVerification, FillError> {
        self.write_index()?;
        self.conn.execute("DELETE FROM meta WHERE key = ?1", [SOURCE])?;
        self.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        self.conn.close().map_err(|(_, error)| error)?;
        self.fresh.finish(report)
    }
}

impl LogFilling for SqliteFilling<'_> {
    fn reached(&self) -> Position {
        self.last
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn add(&mut self, events: &[RecordedEvent]) -> Result<(), FillingError> {
        self.insert_all(events)
    }

    fn reader(&mut self) -> Result<Arc<dyn EventStore>, FillingError> {
        self.write_index().map_err(refused)?;
        let opened = ReadOnlyStore::open(&self.fresh.log);
        Ok(Arc::new(opened.map_err(|error: OpenError| FillingError::of(error))?))
    }

    fn finish(self: Box<Self>, report: ProgressCallback<'_>) -> Result<(), FillingError> {
        self.complete(report).map(drop).map_err(FillingError::of)
    }

    fn discard(mut self: Box<Self>) -> Result<(), FillingError> {
        self.fresh.keeps_files = false;
        Ok(())
    }
}

fn refused(error: rusqlite::Error) -> FillingError {
    FillingError::of(FillError::Database(error))
}
