//! What was deleted is in no page any more.

use rusqlite::Connection;

use super::*;
use crate::store::sqlite::files::write_ahead;

/// Enough rows in random order that SQLite moves many of them between pages.
const ROWS: u64 = 8_000;

fn scrambled(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

fn token(number: u64) -> String {
    format!("<{number:08}>")
}

/// Creates a file and removes half of its rows. Returns it with the tokens of those.
fn used(folder: &std::path::Path) -> (Connection, Vec<String>) {
    let conn = Connection::open(folder.join("db")).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON;
         CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID; CREATE INDEX i ON t (v); BEGIN",
    )
    .unwrap();
    let key = |number: u64| format!("{:012x}", scrambled(number));
    for number in 0..ROWS {
        let filling = "x".repeat(usize::try_from(scrambled(number + ROWS) % 400).unwrap());
        conn.execute("INSERT INTO t VALUES (?1, ?2)", (key(number), token(number) + &filling)).unwrap();
    }
    conn.execute_batch("COMMIT; BEGIN").unwrap();
    let gone: Vec<_> = (0..ROWS).filter(|number| scrambled(number * 7).is_multiple_of(2)).collect();
    for number in &gone {
        assert_eq!(conn.execute("DELETE FROM t WHERE k = ?1", [key(*number)]).unwrap(), 1);
    }
    conn.execute_batch("COMMIT").unwrap();
    (conn, gone.into_iter().map(token).collect())
}

fn left(folder: &std::path::Path, tokens: &[String]) -> usize {
    let bytes = std::fs::read(folder.join("db")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let found: std::collections::HashSet<_> =
        text.match_indices('<').filter_map(|(at, _)| text.get(at..at + 10)).collect();
    tokens.iter().filter(|token| found.contains(token.as_str())).count()
}

#[test]
fn a_scrubbed_file_holds_nothing_that_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (conn, gone) = used(folder.path());
    assert!(write_ahead::truncate(&conn).unwrap());
    assert!(left(folder.path(), &gone) > 0, "SQLite leaves nothing behind: this module can go");
    let rows = |conn: &Connection| -> (i64, i64) {
        conn.query_row("SELECT count(*), sum(length(v)) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    let before = rows(&conn);
    let mut next = Some(FIRST);
    while let Some(from) = next {
        let step = look(&conn, from).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        clean(&conn, &step.unclean).unwrap();
        conn.execute_batch("COMMIT").unwrap();
        next = step.next;
    }
    assert!(write_ahead::truncate(&conn).unwrap());
    assert_eq!(left(folder.path(), &gone), 0);
    assert_eq!(rows(&conn), before);
    let checked: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
    assert_eq!(std::fs::metadata(folder.path().join("db-wal")).unwrap().len(), 0);
}

#[test]
fn a_page_that_is_written_between_the_look_and_the_filling_is_filled_too() {
    let folder = tempfile::tempdir().unwrap();
    let (conn, gone) = used(folder.path());
    let mut next = Some(FIRST);
    while let Some(from) = next {
        let step = look(&conn, from).unwrap();
        // Somebody else changes a row on every page that is to be filled.
        conn.execute("UPDATE t SET v = substr(v, 1, length(v) - 1) WHERE length(v) > 10", []).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        clean(&conn, &step.unclean).unwrap();
        conn.execute_batch("COMMIT").unwrap();
        next = step.next;
    }
    assert!(write_ahead::truncate(&conn).unwrap());
    assert_eq!(left(folder.path(), &gone), 0);
    let checked: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
}
