//! Queries on the log, on a connection that only reads.
//!
//! A stream is read along the links from each event to the previous one. Backwards that is the natural way; forwards it
//! starts at the mark after the last event that is wanted.

use rusqlite::{CachedStatement, Connection, Transaction};

use crate::{
    EventId, Position, RecordedEvent, StreamName, Version,
    store::{
        MAX_READ_EVENTS, ReadDirection, ReadError,
        sqlite::{
            files::row_seal,
            tables::{
                row::{self, COLUMNS, LinkedEvent},
                schema,
                stream_index::{self, StreamHead, StreamHeads},
            },
        },
    },
};

/// Up to `limit` events of all streams after a position.
pub(in crate::store::sqlite) fn read_all(
    conn: &Connection,
    after: Position,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let limit = limit.min(MAX_READ_EVENTS);
    let _snapshot = snapshot(conn).map_err(failed)?;
    // Nothing was removed after the floor: a missing event was lost, and is not skipped.
    let floor = schema::meta(conn, "floor").map_err(failed)?;
    let mut known = after.as_u64().max(floor);
    let sql = format!("SELECT {COLUMNS} FROM log WHERE position > ?1 ORDER BY position LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql).map_err(failed)?;
    let parameters = (after, i64::try_from(limit).unwrap_or(i64::MAX));
    let mut rows = statement.query(parameters).map_err(failed)?;
    let mut events = Vec::with_capacity(limit);
    while let Some(row) = rows.next().map_err(failed)? {
        let recorded = row::decode(row)?.recorded;
        let position = recorded.position.as_u64();
        if position > known {
            if position != known + 1 {
                return Err(row::corrupt(Position::from_u64(known + 1), "the event is missing"));
            }
            known = position;
        }
        events.push(recorded);
    }
    Ok(events)
}

/// The event at a position; `None` when it was removed.
pub(in crate::store::sqlite) fn event_at(
    conn: &Connection,
    position: Position,
) -> Result<Option<RecordedEvent>, ReadError> {
    let _snapshot = snapshot(conn).map_err(failed)?;
    let floor = Position::from_u64(schema::meta(conn, "floor").map_err(failed)?);
    match EventLookup::new(conn)?.find(position)? {
        Some(linked) => Ok(Some(linked.recorded)),
        None if position <= floor || position > last_position(conn).map_err(failed)? => Ok(None),
        None => Err(row::corrupt(position, "the event is missing")),
    }
}

/// Which events of a stream to read: up to `limit`, from a version on and including it.
#[derive(Clone, Copy)]
pub(in crate::store::sqlite) struct StreamRange {
    pub(in crate::store::sqlite) from: Version,
    pub(in crate::store::sqlite) direction: ReadDirection,
    pub(in crate::store::sqlite) limit: usize,
}

/// The events of one stream that a range names.
pub(in crate::store::sqlite) fn read_stream(
    conn: &Connection,
    heads: &StreamHeads,
    stream: &StreamName,
    range: StreamRange,
) -> Result<Vec<RecordedEvent>, ReadError> {
    loop {
        // Memory is read before the snapshot of the database, or a head could be in neither.
        let Some(head) = heads.find(conn, stream.as_str()).map_err(failed)? else { return Ok(Vec::new()) };
        let (lowest, highest) = range.versions(head);
        let read = walk(conn, heads, stream, head, (lowest, highest));
        if read.is_err() && heads.find(conn, stream.as_str()).map_err(failed)? != Some(head) {
            // The stream was truncated or deleted while it was read.
            continue;
        }
        let mut events = read?;
        if range.direction == ReadDirection::Forward {
            events.reverse();
        }
        return Ok(events);
    }
}

impl StreamRange {
    /// The wanted versions, both inclusive; empty if the first is higher.
    fn versions(self, head: StreamHead) -> (Version, Version) {
        let limit = self.limit.min(MAX_READ_EVENTS);
        let count = (limit as u64).saturating_sub(1);
        let (lowest, highest) = match self.direction {
            ReadDirection::Forward => {
                let from = self.from.max(head.first);
                (from, from.plus(count))
            }
            ReadDirection::Backward => {
                let from = self.from.min(head.version);
                (Version::from_u64(from.as_u64().saturating_sub(count)), from)
            }
        };
        if limit == 0 {
            (Version::from_u64(1), Version::NONE)
        } else {
            (lowest.max(head.first), highest.min(head.version))
        }
    }
}

/// The events of these versions, newest first.
fn walk(
    conn: &Connection,
    heads: &StreamHeads,
    stream: &StreamName,
    head: StreamHead,
    (lowest, highest): (Version, Version),
) -> Result<Vec<RecordedEvent>, ReadError> {
    if lowest > highest {
        return Ok(Vec::new());
    }
    let _snapshot = snapshot(conn).map_err(failed)?;
    let mark = heads.mark(conn, stream.as_str(), highest).map_err(failed)?;
    let mut position = mark.filter(|mark| *mark < head.position).unwrap_or(head.position);
    let mut lookup = EventLookup::new(conn)?;
    let mut events = Vec::new();
    let mut above: Option<Version> = None;
    loop {
        let LinkedEvent { recorded, previous } = lookup.event(position)?;
        let follows = above.is_none_or(|above| recorded.version.plus(1) == above);
        if recorded.stream != *stream || !follows {
            return Err(row::corrupt(position, "the event is not the one that is linked to"));
        }
        let version = recorded.version;
        if version <= highest {
            events.push(recorded);
        }
        if version <= lowest {
            return Ok(events);
        }
        (position, above) = (previous, Some(version));
    }
}

/// One read transaction for many lookups: each on its own would lock and unlock the file. `None` when the connection is
/// the writer's and in a transaction already.
fn snapshot(conn: &Connection) -> rusqlite::Result<Option<Transaction<'_>>> {
    conn.is_autocommit().then(|| conn.unchecked_transaction()).transpose()
}

/// Reads single events by position.
struct EventLookup<'a>(CachedStatement<'a>);

impl<'a> EventLookup<'a> {
    fn new(conn: &'a Connection) -> Result<Self, ReadError> {
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM log WHERE position = ?1"))
            .map(Self)
            .map_err(failed)
    }

    fn event(&mut self, position: Position) -> Result<LinkedEvent, ReadError> {
        self.find(position)?.ok_or_else(|| row::corrupt(position, "the event is missing"))
    }

    fn find(&mut self, position: Position) -> Result<Option<LinkedEvent>, ReadError> {
        let mut rows = self.0.query([position]).map_err(failed)?;
        rows.next().map_err(failed)?.map(row::decode).transpose()
    }
}

/// Up to `limit` names of streams with a prefix, after a name; from the database and from memory.
pub(in crate::store::sqlite) fn streams(
    conn: &Connection,
    heads: &StreamHeads,
    prefix: &str,
    after: Option<&StreamName>,
    limit: usize,
) -> Result<Vec<StreamName>, ReadError> {
    let wanted = |name: &str| name.starts_with(prefix) && after.is_none_or(|after| name > after.as_str());
    let mut names: std::collections::BTreeSet<StreamName> = heads.read(|dirty| {
        dirty.keys().filter(|name| wanted(name)).map(|name| StreamName::stored(name)).collect()
    });
    let from = after.map_or(prefix, |after| prefix.max(after.as_str()));
    let _snapshot = snapshot(conn).map_err(failed)?;
    // A damaged name that seems to be before the prefix would be missed, so the row before it is checked. One that seems
    // to be after it is read.
    stream_index::check_before(conn, from).map_err(failed)?;
    let sql = "SELECT name, version, position, first, checksum FROM streams WHERE name >= ?1 ORDER BY name LIMIT ?2";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    // One more than asked for: the name `after` itself is among them.
    let count = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = statement.query((from, count)).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let (name, _) = stream_index::stored(row).map_err(failed)?;
        if wanted(&name) {
            names.insert(StreamName::stored(&name));
        }
    }
    Ok(names.into_iter().take(limit).collect())
}

/// An event without its data.
pub(in crate::store::sqlite) struct EventPlace {
    pub(in crate::store::sqlite) stream: StreamName,
    pub(in crate::store::sqlite) id: EventId,
    pub(in crate::store::sqlite) position: Position,
    pub(in crate::store::sqlite) version: Version,
}

/// Where the newest events are, oldest first. A damaged one is left out: nobody can repeat its append.
pub(in crate::store::sqlite) fn newest(conn: &Connection, count: usize) -> rusqlite::Result<Vec<EventPlace>> {
    let mut statement =
        conn.prepare(&format!("SELECT {COLUMNS} FROM log ORDER BY position DESC LIMIT ?1"))?;
    let mut rows = statement.query([i64::try_from(count).unwrap_or(i64::MAX)])?;
    let mut newest = Vec::new();
    while let Some(row) = rows.next()? {
        if let Ok(LinkedEvent { recorded, .. }) = row::decode(row) {
            let RecordedEvent { stream, position, version, event } = recorded;
            newest.push(EventPlace { stream, id: event.id, position, version });
        }
    }
    newest.reverse();
    Ok(newest)
}

/// Where the events of a stream below a version are, found without its links. This reads every event of the log, and is for
/// streams whose links are damaged.
pub(in crate::store::sqlite) fn scan(
    conn: &Connection,
    stream: &StreamName,
    below: Version,
) -> rusqlite::Result<Vec<EventPlace>> {
    conn.prepare("SELECT stream, id, position, version FROM log WHERE stream = ?1 AND version < ?2")?
        .query_map((stream.as_str(), below), placed)?
        .collect()
}

fn placed(row: &rusqlite::Row<'_>) -> rusqlite::Result<EventPlace> {
    let stream: String = row.get(0)?;
    // An id of another length is damaged, which is found when the event is read.
    let id: [u8; 16] = row.get_ref(1)?.as_bytes()?.try_into().unwrap_or_default();
    Ok(EventPlace {
        stream: StreamName::stored(&stream),
        id: EventId::from_uuid(uuid::Uuid::from_bytes(id)),
        position: row.get(2)?,
        version: row.get(3)?,
    })
}

/// The newest position.
pub(in crate::store::sqlite) fn last_position(conn: &Connection) -> rusqlite::Result<Position> {
    let last: Option<Position> = conn.query_row("SELECT max(position) FROM log", [], |row| row.get(0))?;
    Ok(last.unwrap_or_default())
}

/// The error for what SQLite reports. Damage is distinguished from failures that may pass.
pub(in crate::store::sqlite) fn failed(error: rusqlite::Error) -> ReadError {
    match row_seal::damaged_row(&error) {
        Some(row) => ReadError::IndexDamaged { table: row.table },
        None if row_seal::is_damage(&error) => ReadError::FileDamaged { reason: error.to_string() },
        None => ReadError::Unavailable(error.to_string()),
    }
}
