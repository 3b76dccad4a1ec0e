//! The checksum of a row of the index, or of what the store records about itself.
//!
//! The index follows from the log, but a wrong one would put the next event of a stream in the wrong place. So a row that is
//! not what was written is never used: a mark is not needed, a damaged index is rebuilt, and anything else is an error that
//! says what to do.

use rusqlite::types::Type;

/// A row beside the log is not what was written, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of `{table}` is not what was written")]
pub(in crate::store::sqlite) struct DamagedRow {
    pub(in crate::store::sqlite) table: &'static str,
}

/// CRC-32C over a name and numbers. The table is part of it, so that no row passes for one of another table.
pub(in crate::store::sqlite) fn of(table: &str, name: &str, numbers: &[u64]) -> i64 {
    let seed = crc32c::crc32c(table.as_bytes());
    let length = (name.len() as u64).to_le_bytes();
    let named = crc32c::crc32c_append(crc32c::crc32c_append(seed, &length), name.as_bytes());
    let add = |sum, number: &u64| crc32c::crc32c_append(sum, &number.to_le_bytes());
    i64::from(numbers.iter().fold(named, add))
}

/// A row of `table` is not what was written, or is gone.
pub(in crate::store::sqlite) fn broken(table: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(DamagedRow { table }))
}

/// The row that an error is about, when it is one of [`broken`].
pub(in crate::store::sqlite) fn damaged_row(error: &rusqlite::Error) -> Option<DamagedRow> {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, cause) => cause.downcast_ref().copied(),
        _ => None,
    }
}

/// What to report for an error.
pub(in crate::store::sqlite) fn reason(error: &rusqlite::Error) -> String {
    damaged_row(error).map_or_else(|| error.to_string(), |row| row.to_string())
}

/// Whether SQLite or a checksum says that the file is not what was written.
pub(in crate::store::sqlite) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => true,
        _ => matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)),
    }
}
