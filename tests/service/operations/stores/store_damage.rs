//! Ways in which a store is damaged.

use std::{fs, path::Path};

use rusqlite::{Connection, types::Value};

/// The tables of `log.db` with their columns, and which row is damaged.
const TABLES: [(&str, &[&str], &str); 6] = [
    (
        "log",
        &[
            "position",
            "stream",
            "version",
            "previous",
            "id",
            "type",
            "schema",
            "time",
            "causation",
            "actor",
            "data",
            "checksum",
        ],
        "position = 40",
    ),
    ("streams", &["name", "version", "position", "first", "checksum"], "name = 'session:demo:session-long'"),
    ("marks", &["stream", "mark", "position", "checksum"], "mark = 1"),
    ("meta", &["key", "value", "checksum"], "key = 'epoch'"),
    ("meta", &["key", "value", "checksum"], "key = 'indexed'"),
    ("meta", &["key", "value", "checksum"], "key = 'floor'"),
];

/// Every column of every table of `log.db`: table, column, which row.
pub fn columns() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLES.iter().flat_map(|(table, columns, row)| columns.iter().map(move |column| (*table, *column, *row)))
}

/// Runs SQL on a stopped store's log.
pub fn sql(data: &Path, sql: &str) {
    let conn = Connection::open(data.join("log.db")).expect("a database");
    conn.execute_batch(sql).expect("done");
}

/// Flips a bit of one value of the log.
pub fn flip_value(data: &Path, table: &str, column: &str, row: &str) {
    flip_in(&data.join("log.db"), table, column, row);
}

/// Flips a bit of one value of a database; an absent value becomes one that is present.
pub fn flip_in(file: &Path, table: &str, column: &str, row: &str) {
    let conn = Connection::open(file).expect("a database");
    let sql = format!("SELECT {column} FROM {table} WHERE {row}");
    let value: Value = conn.query_row(&sql, [], |row| row.get(0)).expect("the row");
    let flipped = match value {
        // A position that is free, or SQLite would refuse it.
        Value::Integer(number) => Value::Integer(number ^ (1 << 20)),
        Value::Text(text) => {
            let mut bytes = text.into_bytes();
            match bytes.first_mut() {
                Some(first) => *first ^= 1,
                None => bytes.push(b'x'),
            }
            Value::Text(String::from_utf8(bytes).expect("text"))
        }
        Value::Blob(mut bytes) => {
            match bytes.first_mut() {
                Some(first) => *first ^= 1,
                None => bytes.push(0),
            }
            Value::Blob(bytes)
        }
        Value::Null => Value::Integer(0),
        other @ Value::Real(_) => panic!("a value that no column has: {other:?}"),
    };
    let sql = format!("UPDATE {table} SET {column} = ?1 WHERE {row}");
    assert_eq!(conn.execute(&sql, [flipped]).expect("changed"), 1);
}

/// Flips a byte of a file, at so many thousandths of its length.
pub fn flip_byte(file: &Path, thousandths: usize) {
    let mut bytes = fs::read(file).expect("a file");
    let at = (bytes.len() - 1) * thousandths / 1_000;
    bytes[at] ^= 0xff;
    fs::write(file, bytes).expect("written");
}

/// Cuts a file to so many thousandths of its length.
pub fn cut(file: &Path, thousandths: usize) {
    let bytes = fs::read(file).expect("a file");
    fs::write(file, &bytes[..bytes.len() * thousandths / 1_000]).expect("written");
}

/// Swaps the first two cells of the only page of a table or an index, as its tree has them: a scan gives every
/// row, in another order, and a search by key misses one.
pub fn swap_cells(file: &Path, tree: &str) {
    let conn = Connection::open(file).expect("a database");
    conn.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("one file");
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = ?1";
    let root: u32 = conn.query_row(sql, [tree], |row| row.get(0)).expect("a tree");
    let page_bytes: u32 = conn.pragma_query_value(None, "page_size", |row| row.get(0)).expect("a size");
    drop(conn);
    let [root, page_bytes] = [root, page_bytes].map(|number| usize::try_from(number).expect("a number"));
    let mut bytes = fs::read(file).expect("a file");
    let page = &mut bytes[(root - 1) * page_bytes..root * page_bytes];
    assert_eq!(page[0], 0x0a, "a leaf of an index");
    assert!(u16::from_be_bytes([page[3], page[4]]) >= 2, "two cells");
    let (first, second) = page[8..12].split_at_mut(2);
    first.swap_with_slice(second);
    fs::write(file, bytes).expect("written");
}
