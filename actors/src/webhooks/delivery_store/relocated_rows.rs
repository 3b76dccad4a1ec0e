//! The tables of deliveries and their rows, as both backends give them when deliveries are moved.

use rusqlite::types::Value;

/// How many rows are moved at once.
pub(super) const PAGE_ROWS: usize = 1_000;

/// A row of a table, in the order that `outbox.db` has, without its checksum.
pub(super) type StoredRow = Vec<Value>;

/// A table, as both backends have it.
#[derive(Debug)]
pub(super) struct RelocatedTable {
    pub(super) name: &'static str,
    /// The columns of the primary key, which are the first.
    pub(super) key_columns: &'static str,
    /// How many they are.
    pub(super) key: usize,
    /// Which columns are positions.
    pub(super) positions: &'static [usize],
}

pub(super) static LANES: RelocatedTable =
    RelocatedTable { name: "lanes", key_columns: "id", key: 1, positions: &[3, 7, 8, 9] };

pub(super) static DELIVERIES: RelocatedTable =
    RelocatedTable { name: "deliveries", key_columns: "lane, position", key: 2, positions: &[1] };

pub(super) static ATTEMPTS: RelocatedTable =
    RelocatedTable { name: "attempts", key_columns: "lane, position, number", key: 3, positions: &[1] };

/// A number, as a column that always has one.
pub(super) fn integer(row: &StoredRow, column: usize) -> i64 {
    match row.get(column) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}
