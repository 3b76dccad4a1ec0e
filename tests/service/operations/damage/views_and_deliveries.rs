//! `amoiq verify` finds what does not fit in `views.db` and `outbox.db`.

use std::path::Path;

use amoiq_events::store::sqlite::row_checksum;
use amoiq_testkit::{cli, store_invariants::inbox_generation};
use rusqlite::{
    Connection,
    types::{Value as Column, ValueRef},
};
use serde_json::Value;

use crate::operations::{
    stores::released_stores::reopened,
    stores::store_damage::{flip_in, swap_cells},
    stores::written_stores::stopped,
};

/// The tables of a file that carry checksums, each with its columns.
fn sealed_tables(file: &Path) -> Vec<(String, Vec<String>)> {
    let conn = Connection::open(file).expect("a database");
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    let mut statement = conn.prepare(sql).expect("names");
    let names = statement.query_map([], |row| row.get(0)).expect("names");
    let names = names.collect::<Result<Vec<String>, _>>().expect("names");
    let columns = |name: &String| {
        let statement = conn.prepare(&format!("SELECT * FROM {name}")).expect("a table");
        statement.column_names().map(str::to_owned).collect()
    };
    names.iter().map(|name| (name.clone(), columns(name))).collect()
}

/// Changes rows together with their checksums, as the service does.
fn change(file: &Path, table: &str, sql: &str) {
    let conn = Connection::open(file).expect("a database");
    assert!(conn.execute(sql, []).expect("changed") > 0, "{sql}");
    let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).expect("a table");
    let width = statement.column_count();
    let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect());
    let rows = rows.expect("rows").collect::<Result<Vec<Vec<Column>>, _>>().expect("rows");
    for row in rows {
        let (old, columns) = row.split_last().expect("columns");
        let sum = row_checksum::checksum(columns.iter().map(ValueRef::from));
        let update = format!("UPDATE {table} SET checksum = ?1 WHERE checksum = ?2");
        conn.execute(&update, (sum, old)).expect("sealed");
    }
}

fn found(data: &Path, kind: &str, what: &str) {
    let (code, result) = cli::verify(data, &[]);
    assert_eq!(code, 1, "{what}: {result}");
    let problems = result["problems"].as_array().expect("a list");
    assert!(problems.iter().all(|problem| problem["kind"] == kind), "{what}: {result}");
    let is_said = |problem: &Value| problem["what"].as_str().expect("a text").contains(what);
    assert!(problems.iter().any(is_said), "{what}: {result}");
}

#[test]
fn an_outbox_in_use_verifies() {
    let (code, result) = cli::verify(reopened().path(), &[]);
    assert_eq!((code, &result["notes"]), (0, &Value::Array(Vec::new())), "{result}");
}

#[test]
fn a_flipped_bit_in_any_column_beside_the_log_is_found() {
    let mut count = 0;
    for (file, kind) in [("views.db", "views"), ("outbox.db", "outbox")] {
        for (table, columns) in sealed_tables(&reopened().path().join(file)) {
            for column in columns {
                let data = reopened();
                let path = data.path().join(file);
                let conn = Connection::open(&path).expect("a database");
                let sql = format!("SELECT checksum FROM {table} LIMIT 1");
                let sum: i64 = conn.query_row(&sql, [], |row| row.get(0)).expect("a row");
                drop(conn);
                flip_in(&path, &table, &column, &format!("checksum = {sum}"));
                let (code, result) = cli::verify(data.path(), &[]);
                assert_eq!(code, 1, "{table}.{column}: {result}");
                let problems = result["problems"].as_array().expect("a list");
                assert!(problems.iter().all(|problem| problem["kind"] == kind), "{table}.{column}: {result}");
                let row = format!("of `{table}` is not what was written");
                assert!(result.to_string().contains(&row), "{table}.{column}: {result}");
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count} columns");
}

#[test]
fn the_numbers_of_lanes_are_compared_with_their_deliveries() {
    let last = "position = (SELECT max(position) FROM deliveries WHERE lane = 2 AND status = 0) AND lane = 2";
    let went = "lane = 1 AND position = (SELECT max(position) FROM deliveries WHERE lane = 1)";
    for (table, sql, what) in [
        ("lanes", "UPDATE lanes SET cursor = 100000 WHERE id = 1", "stands at 100000"),
        ("lanes", "UPDATE lanes SET pending = pending + 1 WHERE id = 1", "by status"),
        ("lanes", "DELETE FROM lanes WHERE id = 1", "rows of `deliveries` belong to nothing"),
        (
            "deliveries",
            &format!("UPDATE deliveries SET event_id = zeroblob(16) WHERE {last}"),
            "another event",
        ),
        ("deliveries", &format!("UPDATE deliveries SET position = 90000 WHERE {last}"), "stands at 90000"),
        ("deliveries", &format!("UPDATE deliveries SET position = 90000 WHERE {last}"), "not in the log"),
        ("deliveries", &format!("DELETE FROM deliveries WHERE {went}"), "by status"),
        ("attempts", "DELETE FROM attempts WHERE lane = 2 AND number = 1", "the attempts that it counts"),
    ] {
        let data = reopened();
        change(&data.path().join("outbox.db"), table, sql);
        found(data.path(), "outbox", what);
    }
}

#[test]
fn damage_of_views_is_listed_before_that_of_deliveries() {
    let data = reopened();
    for file in ["views.db", "outbox.db"] {
        std::fs::write(data.path().join(file), vec![b'x'; 8_192]).expect("written");
        drop(std::fs::remove_file(data.path().join(format!("{file}-wal"))));
    }
    let output = cli::run(data.path(), &["verify"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let line_of = |kind: &str| text.find(&format!("of kind {kind}\n")).expect("a line");
    assert!(line_of("views") < line_of("outbox"), "{text}");
}

#[test]
fn keys_that_are_out_of_order_are_found() {
    let data = stopped();
    let views = data.path().join("views.db");
    let conn = Connection::open(&views).expect("a database");
    let table = format!("inbox_{}", inbox_generation(&conn).expect("tables that serve"));
    drop(conn);
    swap_cells(&views, &table);
    let conn = Connection::open(&views).expect("a database");
    let mut scan = conn.prepare(&format!("SELECT session FROM {table}")).expect("a table");
    let scanned: Vec<String> =
        scan.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("rows");
    let sql = format!("SELECT count(*) FROM {table} WHERE tenant = 'demo' AND session = ?1");
    let finds =
        |session: &String| conn.query_row(&sql, [session], |row| row.get::<_, i64>(0)).expect("a count");
    assert!(scanned.iter().any(|session| finds(session) == 0), "a search misses what a scan finds");
    drop(scan);
    drop(conn);
    found(data.path(), "views", "views.db");
}

#[test]
fn a_file_beside_the_log_that_is_not_a_database_is_named() {
    for (file, kind) in [("views.db", "views"), ("outbox.db", "outbox")] {
        let data = reopened();
        std::fs::write(data.path().join(file), vec![b'x'; 8_192]).expect("written");
        // A write-ahead log that a slow stop left would have every page.
        drop(std::fs::remove_file(data.path().join(format!("{file}-wal"))));
        let (code, result) = cli::verify(data.path(), &[]);
        assert_eq!(code, 1, "{result}");
        let problems = result["problems"].as_array().expect("a list");
        let about = |problem: &&Value| problem["kind"] == kind;
        let what = problems.iter().find(about).map(|problem| problem["what"].to_string()).unwrap_or_default();
        assert!(what.contains(file) && !what.contains("log.db"), "{result}");
    }
}
