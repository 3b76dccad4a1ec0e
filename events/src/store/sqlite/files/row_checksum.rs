//! The checksum of a row in the files beside the log: CRC-32C over its columns in their order, stored in the last column.
//!
//! Writers and verifiers of these files compute it here.

use rusqlite::{Row, types::ValueRef};

/// The name of the last column of every table whose rows have a checksum.
pub const COLUMN: &str = "checksum";

/// The checksum of columns, as it is stored.
pub fn checksum<'a>(columns: impl IntoIterator<Item = ValueRef<'a>>) -> i64 {
    i64::from(columns.into_iter().fold(0, with))
}

/// Whether the last column of a row is the checksum of those before it.
///
/// # Errors
/// When SQLite cannot read a column.
pub fn is_whole(row: &Row<'_>) -> rusqlite::Result<bool> {
    let last = row.as_ref().column_count().saturating_sub(1);
    let columns = (0..last).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
    Ok(row.get_ref(last)? == ValueRef::Integer(checksum(columns)))
}

/// Adds a column. Its type and its length are in the sum, so that bytes cannot move between columns.
fn with(sum: u32, column: ValueRef<'_>) -> u32 {
    let fixed = |kind: u8, number: [u8; 8]| {
        let [a, b, c, d, e, f, g, h] = number;
        crc32c::crc32c_append(sum, &[kind, a, b, c, d, e, f, g, h])
    };
    let sized =
        |kind, bytes: &[u8]| crc32c::crc32c_append(fixed(kind, (bytes.len() as u64).to_le_bytes()), bytes);
    match column {
        ValueRef::Null => fixed(0, [0; 8]),
        ValueRef::Integer(number) => fixed(1, number.to_le_bytes()),
        ValueRef::Real(number) => fixed(2, number.to_le_bytes()),
        ValueRef::Text(bytes) => sized(3, bytes),
        ValueRef::Blob(bytes) => sized(4, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_that_differ_have_one_checksum() {
        let rows: [&[ValueRef<'_>]; 8] = [
            &[ValueRef::Text(b"ab"), ValueRef::Text(b"c")],
            &[ValueRef::Text(b"a"), ValueRef::Text(b"bc")],
            &[ValueRef::Text(b"abc"), ValueRef::Null],
            &[ValueRef::Blob(b"abc"), ValueRef::Null],
            &[ValueRef::Null, ValueRef::Text(b"abc")],
            &[ValueRef::Integer(0), ValueRef::Null],
            &[ValueRef::Null, ValueRef::Null],
            &[ValueRef::Null],
        ];
        let mut sums: Vec<_> = rows.iter().map(|row| checksum(row.iter().copied())).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), rows.len());
    }

    #[test]
    fn what_was_stored_before_has_the_checksum_that_it_had() {
        let row =
            [ValueRef::Integer(7), ValueRef::Text("Ærø".as_bytes()), ValueRef::Null, ValueRef::Blob(&[0])];
        assert_eq!(checksum(row), 0x12fa_80d4);
    }
}
