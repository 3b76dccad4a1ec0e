//! The rows of the files beside the log, whatever their tables are called: each is what was written.

use rusqlite::Connection;

use super::{
    super::{backup::quoted, columns},
    Kind, StoreVerification,
};
use crate::Position;

/// Checks every row of every table that carries checksums, among the tables whose names begin so.
pub(super) fn check(
    conn: &Connection,
    file: &str,
    prefix: &str,
    kind: Kind,
    found: &mut StoreVerification,
) -> rusqlite::Result<()> {
    for table in tables(conn, prefix)? {
        let mut statement = conn.prepare(&format!("SELECT * FROM {}", quoted(&table)))?;
        if statement.column_names().last() != Some(columns::CHECKSUM) {
            continue;
        }
        let mut rows = statement.query([])?;
        let mut number = 0;
        while let Some(row) = rows.next()? {
            number += 1;
            if !columns::is_whole(row)? {
                let what = format!("{file}: row {number} of `{table}` is not what was written");
                found.found(kind, Position::START, "", what);
            }
        }
    }
    Ok(())
}

fn tables(conn: &Connection, prefix: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1 \
               ORDER BY name";
    conn.prepare(sql)?.query_map([prefix], |row| row.get(0))?.collect()
}
