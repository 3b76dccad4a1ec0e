//! Where streams end: the part of the index that is not in the database yet.
//!
//! An append changes the head of its stream here, in memory. Heads reach the `streams` and `marks`
//! tables later, oldest first, a few with each commit, so that the cost of a commit does not depend on how many streams there
//! are. What was not flushed when the process died is read from the end of the log again: everything after the position that
//! `meta` calls `indexed`.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{RwLock, RwLockWriteGuard};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    Position, Version,
    store::sqlite::{files::row_seal, tables::schema},
};

/// How many versions of a stream are between two marks. A mark says where an event is.
pub(in crate::store::sqlite) const MARK_EVERY: u64 = 64;

/// Heads kept in memory before the oldest are flushed.
const MAX_DIRTY_STREAMS: usize = 65_536;

/// How many positions after its event a head is flushed at the latest: this bounds what a start has to read.
const MAX_LAG_POSITIONS: u64 = 262_144;

/// How many heads a commit flushes beyond the number of events it adds.
const FLUSH_AHEAD: usize = 64;

/// Where a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store::sqlite) struct StreamHead {
    pub(in crate::store::sqlite) version: Version,
    pub(in crate::store::sqlite) position: Position,
    /// The version that reading backwards ends at; 1 unless the stream was truncated.
    pub(in crate::store::sqlite) first: Version,
}

/// A head that is newer than the database, and the marks that belong to it.
#[derive(Debug, Clone, Default)]
pub(in crate::store::sqlite) struct UnflushedHead {
    /// The first event of the stream that the database does not know.
    since: Position,
    pub(in crate::store::sqlite) head: StreamHead,
    pub(in crate::store::sqlite) marks: Vec<(u64, Position)>,
}

/// Streams by name. The standard hasher took a tenth of an append's time.
pub(in crate::store::sqlite) type UnflushedHeads = foldhash::HashMap<Arc<str>, UnflushedHead>;

/// Shared between the writer, which changes it, and the readers.
#[derive(Default)]
pub(in crate::store::sqlite) struct StreamHeads(RwLock<UnflushedHeads>);

impl StreamHeads {
    /// Where a stream ends, from memory or the database.
    pub(in crate::store::sqlite) fn find(
        &self,
        conn: &Connection,
        stream: &str,
    ) -> rusqlite::Result<Option<StreamHead>> {
        let known = self.read(|dirty| dirty.get(stream).map(|dirty| dirty.head));
        if known.is_some() { Ok(known) } else { stored_head(conn, stream) }
    }

    /// The first mark at or after a version.
    pub(in crate::store::sqlite) fn mark(
        &self,
        conn: &Connection,
        stream: &str,
        version: Version,
    ) -> rusqlite::Result<Option<Position>> {
        let mark = version.as_u64().div_ceil(MARK_EVERY);
        let stored = stored_mark(conn, stream, mark)?;
        if stored.is_some() {
            return Ok(stored);
        }
        Ok(self.read(|dirty| {
            let marks = &dirty.get(stream)?.marks;
            marks.get(marks.partition_point(|(number, _)| *number < mark)).map(|(_, position)| *position)
        }))
    }

    pub(in crate::store::sqlite) fn read<T>(&self, read: impl FnOnce(&UnflushedHeads) -> T) -> T {
        read(&self.0.read())
    }

    fn lock(&self) -> RwLockWriteGuard<'_, UnflushedHeads> {
        self.0.write()
    }
}

/// The writer's side: which heads this transaction changed, and which are the oldest.
pub(in crate::store::sqlite) struct StreamIndex {
    heads: Arc<StreamHeads>,
    /// Changed by the current transaction; discarded when it fails.
    pending: UnflushedHeads,
    /// Streams in `heads`, by the position of the first event that the database does not know.
    oldest: VecDeque<(Position, Arc<str>)>,
    /// Flushed by the current transaction.
    flushed: Vec<Arc<str>>,
    /// Deleted by the current transaction.
    deleted: Vec<Arc<str>>,
}

impl StreamIndex {
    pub(in crate::store::sqlite) fn new() -> Self {
        let (pending, oldest) = (UnflushedHeads::default(), VecDeque::new());
        Self { heads: Arc::default(), pending, oldest, flushed: Vec::new(), deleted: Vec::new() }
    }

    /// The part of it that readers see.
    pub(in crate::store::sqlite) fn heads(&self) -> &Arc<StreamHeads> {
        &self.heads
    }

    /// Where a stream ends, including this transaction.
    pub(in crate::store::sqlite) fn head(
        &self,
        conn: &Connection,
        stream: &str,
    ) -> rusqlite::Result<Option<StreamHead>> {
        match self.pending.get(stream) {
            Some(dirty) => Ok(Some(dirty.head)),
            None => self.heads.find(conn, stream),
        }
    }

    /// Records an event at the end of a stream.
    pub(in crate::store::sqlite) fn advance(&mut self, stream: &Arc<str>, head: StreamHead) {
        let new = || UnflushedHead { since: head.position, ..UnflushedHead::default() };
        let dirty = self.pending.entry(Arc::clone(stream)).or_insert_with(new);
        dirty.head = head;
        if head.version.as_u64().is_multiple_of(MARK_EVERY) {
            dirty.marks.push((head.version.as_u64() / MARK_EVERY, head.position));
        }
    }

    /// Writes the oldest heads as part of a transaction that added `added` events up to `last`.
    pub(in crate::store::sqlite) fn flush(
        &mut self,
        conn: &Connection,
        added: usize,
        last: Position,
    ) -> rusqlite::Result<()> {
        let reach = last.as_u64().saturating_sub(MAX_LAG_POSITIONS);
        for _ in 0..added + FLUSH_AHEAD {
            let surplus = self.oldest.len() > MAX_DIRTY_STREAMS + self.flushed.len();
            let next = self.oldest.get(self.flushed.len());
            let Some((_, stream)) = next.filter(|(since, _)| surplus || since.as_u64() < reach) else {
                break;
            };
            let stream = Arc::clone(stream);
            self.flush_one(conn, &stream)?;
            self.flushed.push(stream);
        }
        if !self.flushed.is_empty() {
            let known = self.oldest.get(self.flushed.len()).map(|(since, _)| since.as_u64());
            // Nothing older is left: the database lacks at most what this transaction adds.
            let first = known.unwrap_or_else(|| last.as_u64().saturating_sub(added as u64) + 1);
            schema::set_meta(conn, "indexed", first.saturating_sub(1))?;
        }
        Ok(())
    }

    fn flush_one(&self, conn: &Connection, stream: &Arc<str>) -> rusqlite::Result<()> {
        let older = self.heads.read(|dirty| dirty.get(stream).cloned()).unwrap_or_default();
        let newer = self.pending.get(stream);
        let newer_marks = newer.map(|dirty| dirty.marks.as_slice()).unwrap_or_default();
        store_head(conn, stream, newer.map_or(older.head, |dirty| dirty.head))?;
        older.marks.iter().chain(newer_marks).try_for_each(|mark| store_mark(conn, stream, *mark))
    }

    /// The transaction is durable: readers now see what it changed.
    pub(in crate::store::sqlite) fn committed(&mut self) {
        let heads = Arc::clone(&self.heads);
        self.apply(&mut heads.lock());
    }

    /// Commits a transaction that removed events. Nobody reads a head meanwhile, so a reader that misses an event always
    /// learns from the head that it was removed.
    pub(in crate::store::sqlite) fn commit_removal(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let heads = Arc::clone(&self.heads);
        let mut heads = heads.lock();
        conn.execute_batch("COMMIT")?;
        self.apply(&mut heads);
        Ok(())
    }

    fn apply(&mut self, heads: &mut UnflushedHeads) {
        let mut added = Vec::new();
        for (stream, dirty) in self.pending.drain() {
            match heads.get_mut(&stream) {
                Some(known) => {
                    known.head = dirty.head;
                    known.marks.extend(dirty.marks);
                    // A truncation removes marks from the database; these would be written there later.
                    let first = dirty.head.first.as_u64().div_ceil(MARK_EVERY);
                    let removed = known.marks.partition_point(|(number, _)| *number < first);
                    known.marks.drain(..removed);
                }
                None => {
                    added.push((dirty.since, Arc::clone(&stream)));
                    heads.insert(stream, dirty);
                }
            }
        }
        for stream in self.flushed.iter().chain(&self.deleted) {
            heads.remove(stream);
        }
        self.oldest.drain(..self.flushed.len());
        self.flushed.clear();
        for stream in self.deleted.drain(..) {
            self.oldest.retain(|(_, name)| *name != stream);
        }
        added.sort_unstable();
        self.oldest.extend(added);
    }

    /// The transaction failed: none of it happened.
    pub(in crate::store::sqlite) fn failed(&mut self) {
        self.pending.clear();
        self.flushed.clear();
        self.deleted.clear();
    }

    /// Whether it holds more than a running store keeps in memory.
    pub(in crate::store::sqlite) fn is_large(&self) -> bool {
        self.oldest.len() > MAX_DIRTY_STREAMS
    }

    /// Writes everything, in transactions of its own or as part of the open one.
    pub(in crate::store::sqlite) fn flush_all(
        &mut self,
        conn: &Connection,
        last: Position,
    ) -> rusqlite::Result<()> {
        while !self.oldest.is_empty() {
            conn.execute_batch("SAVEPOINT flush")?;
            for (_, stream) in self.oldest.iter().take(MAX_DIRTY_STREAMS) {
                self.flush_one(conn, stream)?;
                self.flushed.push(Arc::clone(stream));
            }
            let rest = self.oldest.get(self.flushed.len()).map(|(since, _)| since.as_u64() - 1);
            schema::set_meta(conn, "indexed", rest.unwrap_or(last.as_u64()))?;
            conn.execute_batch("RELEASE flush")?;
            self.committed();
        }
        Ok(())
    }

    /// Sets the start of a stream, in the database and in memory, as part of a transaction.
    pub(in crate::store::sqlite) fn truncate(
        &mut self,
        conn: &Connection,
        stream: &Arc<str>,
        first: Version,
    ) -> rusqlite::Result<()> {
        let Some(head) = self.head(conn, stream)? else { return Ok(()) };
        let head = StreamHead { first, ..head };
        store_head(conn, stream, head)?;
        conn.prepare_cached("DELETE FROM marks WHERE stream = ?1 AND mark < ?2")?
            .execute((&**stream, first.as_u64().div_ceil(MARK_EVERY).cast_signed()))?;
        let new = || UnflushedHead { since: head.position, ..UnflushedHead::default() };
        self.pending.entry(Arc::clone(stream)).or_insert_with(new).head = head;
        Ok(())
    }

    /// Forgets a stream.
    pub(in crate::store::sqlite) fn delete(
        &mut self,
        conn: &Connection,
        stream: &Arc<str>,
    ) -> rusqlite::Result<()> {
        conn.prepare_cached("DELETE FROM marks WHERE stream = ?1")?.execute([&**stream])?;
        conn.prepare_cached("DELETE FROM streams WHERE name = ?1")?.execute([&**stream])?;
        self.pending.remove(stream);
        self.deleted.push(Arc::clone(stream));
        Ok(())
    }
}

fn stored_head(conn: &Connection, stream: &str) -> rusqlite::Result<Option<StreamHead>> {
    let found = nearest(conn, "WHERE name = ?1", stream)?;
    if found.is_none() {
        // A damaged name would make its stream seem not to exist, and its next event start it a second time. A search that
        // a damaged name misled ends beside it, so both neighbours have to be what was written.
        check_before(conn, stream)?;
        nearest(conn, "WHERE name > ?1 ORDER BY name LIMIT 1", stream)?;
    }
    Ok(found)
}

/// Fails when the row before a name is not what was written: it may be one that a search from that name on should find.
pub(in crate::store::sqlite) fn check_before(conn: &Connection, name: &str) -> rusqlite::Result<()> {
    nearest(conn, "WHERE name < ?1 ORDER BY name DESC LIMIT 1", name).map(|_| ())
}

fn nearest(conn: &Connection, clause: &str, stream: &str) -> rusqlite::Result<Option<StreamHead>> {
    conn.prepare_cached(&format!("SELECT name, version, position, first, checksum FROM streams {clause}"))?
        .query_row([stream], |row| stored(row).map(|(_, head)| head))
        .optional()
}

/// Reads a row of `streams`: name, version, position, first, checksum.
pub(in crate::store::sqlite) fn stored(row: &Row<'_>) -> rusqlite::Result<(String, StreamHead)> {
    let name: String = row.get(0)?;
    let head = StreamHead { version: row.get(1)?, position: row.get(2)?, first: row.get(3)? };
    if head_seal(&name, head) == row.get::<_, i64>(4)? {
        Ok((name, head))
    } else {
        Err(row_seal::broken("streams"))
    }
}

fn head_seal(stream: &str, head: StreamHead) -> i64 {
    row_seal::of("streams", stream, &[head.version.as_u64(), head.position.as_u64(), head.first.as_u64()])
}

/// Whether a row of `marks` is what was written.
pub(in crate::store::sqlite) fn mark_seal(stream: &str, mark: u64, position: Position) -> i64 {
    row_seal::of("marks", stream, &[mark, position.as_u64()])
}

fn stored_mark(conn: &Connection, stream: &str, mark: u64) -> rusqlite::Result<Option<Position>> {
    let sql =
        "SELECT mark, position, checksum FROM marks WHERE stream = ?1 AND mark >= ?2 ORDER BY mark LIMIT 1";
    let found = conn
        .prepare_cached(sql)?
        .query_row((stream, mark.cast_signed()), |row| {
            let position: Position = row.get(1)?;
            let expected = mark_seal(stream, row.get::<_, i64>(0)?.cast_unsigned(), position);
            Ok((row.get::<_, i64>(2)? == expected).then_some(position))
        })
        .optional()?;
    // A damaged mark is not needed: the way from the head is longer, but leads there too.
    Ok(found.flatten())
}

pub(in crate::store::sqlite) fn store_head(
    conn: &Connection,
    stream: &str,
    head: StreamHead,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO streams (name, version, position, first, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((stream, head.version, head.position, head.first, head_seal(stream, head)))?;
    Ok(())
}

fn store_mark(conn: &Connection, stream: &str, (mark, position): (u64, Position)) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO marks (stream, mark, position, checksum) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((stream, mark.cast_signed(), position, mark_seal(stream, mark, position)))?;
    Ok(())
}
