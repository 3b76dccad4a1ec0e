//! Finds the event that a link names, mostly without a lookup.

use std::{collections::HashMap, hash::BuildHasher};

use rusqlite::{CachedStatement, Connection};

use crate::{
    Position, StreamName, Version,
    store::sqlite::tables::row::{self, COLUMNS},
};

/// How many streams each of the two generations remembers: 32 bytes each.
const REMEMBERED: usize = 262_144;

/// What is at a position.
pub(super) enum RowAt {
    /// An event.
    Event { stream: StreamName, version: Version, previous: Position },
    /// A row that is not what was written.
    Damaged,
    /// Nothing.
    Nothing,
}

/// Reads single rows.
pub(super) struct LogRows<'a>(CachedStatement<'a>);

impl<'a> LogRows<'a> {
    pub(super) fn new(conn: &'a Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM log WHERE position = ?1")).map(Self)
    }

    pub(super) fn at(&mut self, position: Position) -> RowAt {
        let Ok(number) = i64::try_from(position.as_u64()) else { return RowAt::Nothing };
        let Ok(mut rows) = self.0.query([number]) else { return RowAt::Damaged };
        match rows.next() {
            Ok(None) => RowAt::Nothing,
            Err(_unreadable) => RowAt::Damaged,
            Ok(Some(row)) => match row::decode(row) {
                Ok(row::LinkedEvent { recorded, previous }) => {
                    RowAt::Event { stream: recorded.stream, version: recorded.version, previous }
                }
                Err(_damage) => RowAt::Damaged,
            },
        }
    }
}

/// The newest event of each recently seen stream, in two generations, of which the older is dropped.
#[derive(Default)]
pub(super) struct LatestEvents {
    hasher: foldhash::quality::RandomState,
    young: HashMap<u64, (Position, Version), foldhash::fast::RandomState>,
    old: HashMap<u64, (Position, Version), foldhash::fast::RandomState>,
}

impl LatestEvents {
    /// Records an event. Returns the previous one of its stream, if that is remembered.
    pub(super) fn replace(
        &mut self,
        stream: &StreamName,
        position: Position,
        version: Version,
    ) -> Option<(Position, Version)> {
        let key = self.hasher.hash_one(stream.as_str());
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, (position, version)).or_else(|| self.old.remove(&key))
    }
}
