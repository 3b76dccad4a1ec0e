//! `amoiq verify` finds what does not fit, and nothing where everything does.

use std::fs;

use amoiq_actors::store_files::store_files;
use amoiq_events::{
    Ambient, EventLog, NewEvent, Position, StreamName,
    store::{ExpectedVersion, OpenedStore as _, sqlite::SqliteStore},
};
use amoiq_testkit::{TestApp, cli};
use serde_json::Value;

use crate::operations::{
    stores::store_damage::{columns, cut, flip_value, sql},
    stores::written_stores::{say_as_ann, stopped},
};

fn kinds(result: &Value) -> Vec<String> {
    result["counts"].as_object().map(|counts| counts.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn the_store_of_a_stopped_service_is_clean() {
    let data = stopped();
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!((code, &result["clean"]), (0, &Value::Bool(true)), "{result}");
    assert!(result["events"].as_u64() > Some(76), "{result}");
    assert_eq!(result["events"], result["verified_to"]);
    assert_eq!(result["streams"], 5, "three sessions, the tenant and the node");
}

#[test]
fn a_store_is_clean_while_a_service_writes_it() {
    let data = stopped();
    let service = TestApp::start_on(data.path());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..300 {
                let session = format!("session-of-writer-{}", number % 7);
                assert_eq!(say_as_ann(&service, &session, "while it is verified").status, 200);
            }
        });
        while !writer.is_finished() {
            let (code, result) = cli::verify(data.path(), &[]);
            assert_eq!(code, 0, "{result}");
        }
    });
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!(code, 0, "{result}");
}

#[test]
fn a_flipped_bit_in_any_column_of_any_table_is_found() {
    for (table, column, row) in columns() {
        let data = stopped();
        flip_value(data.path(), table, column, row);
        let (code, result) = cli::verify(data.path(), &[]);
        assert_eq!(code, 1, "{table}.{column} where {row}: {result}");
        let problems = result["problems"].as_array().expect("a list");
        assert!(!problems.is_empty() && problems.iter().all(|problem| problem["advice"].is_string()));
        if table == "log" && column != "position" {
            assert_eq!(problems[0]["position"], 40, "{column}: {result}");
        }
    }
}

#[test]
fn a_removed_row_is_found_wherever_it_was() {
    let removals = [
        ("DELETE FROM log WHERE position = 40", "missing"),
        ("DELETE FROM log WHERE position = (SELECT max(position) FROM log)", "head"),
        ("DELETE FROM streams WHERE name = 'session:demo:session-two'", "head"),
        ("DELETE FROM meta WHERE key = 'floor'", "meta"),
    ];
    for (removal, kind) in removals {
        let data = stopped();
        sql(data.path(), removal);
        let (code, result) = cli::verify(data.path(), &[]);
        assert_eq!(code, 1, "{removal}: {result}");
        assert!(kinds(&result).contains(&kind.to_owned()), "{removal}: {result}");
    }
    let data = stopped();
    sql(data.path(), "DELETE FROM streams WHERE name = 'session:demo:session-two'");
    let (_, result) = cli::verify(data.path(), &[]);
    assert!(result.to_string().contains("session:demo:session-two"), "named: {result}");
}

#[test]
fn swapped_rows_are_found() {
    let data = stopped();
    sql(
        data.path(),
        "UPDATE log SET position = 100000 WHERE position = 40;
         UPDATE log SET position = 40 WHERE position = 41;
         UPDATE log SET position = 41 WHERE position = 100000;",
    );
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!((code, result["counts"]["checksum"].as_u64()), (1, Some(2)), "{result}");
}

#[test]
fn a_cut_file_is_found() {
    for thousandths in [900, 500, 100] {
        let data = stopped();
        cut(&data.path().join("log.db"), thousandths);
        let (code, result) = cli::verify(data.path(), &[]);
        assert_ne!(code, 0, "cut to {thousandths}: {result}");
    }
}

#[test]
fn what_is_ahead_of_the_log_is_found() {
    let data = stopped();
    let views = rusqlite::Connection::open(data.path().join("views.db")).expect("a database");
    views.execute("UPDATE generations SET position = position + 1000", []).expect("changed");
    drop(views);
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!((code, kinds(&result)), (1, vec!["views".to_owned()]), "{result}");

    let data = stopped();
    fs::remove_file(data.path().join("log.witness")).expect("removed");
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!((code, kinds(&result)), (1, vec!["witness".to_owned()]), "{result}");
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let data = stopped();
    sql(
        data.path(),
        "UPDATE log SET actor = 'somebody else';
         INSERT INTO marks SELECT 'x' || position, 1, position, 0 FROM log LIMIT 50;",
    );
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!(code, 1);
    assert_eq!(result["problems"].as_array().map(Vec::len), Some(100), "{result}");
    assert_eq!(result["counts"]["checksum"], result["events"], "{result}");
    assert!(result["counts"]["mark"].as_u64() >= Some(50), "{result}");
}

#[test]
fn a_verification_continues_from_a_position() {
    let data = stopped();
    sql(data.path(), "UPDATE log SET actor = 'somebody else' WHERE position = 20");
    assert_eq!(cli::verify(data.path(), &[]).0, 1);
    let (code, result) = cli::verify(data.path(), &["--from", "20"]);
    assert_eq!((code, &result["from"]), (0, &Value::from(20)), "{result}");
}

#[test]
fn a_log_that_ends_before_the_starting_position_is_a_problem() {
    let data = stopped();
    let (_, whole) = cli::verify(data.path(), &[]);
    let head = whole["verified_to"].as_u64().expect("a position");
    let (code, result) = cli::verify(data.path(), &["--from", &head.to_string()]);
    assert_eq!((code, &result["verified_to"], &result["events"]), (0, &head.into(), &0.into()), "{result}");
    for from in [head + 1, head + 1_000] {
        let (code, result) = cli::verify(data.path(), &["--from", &from.to_string()]);
        assert_eq!((code, kinds(&result)), (1, vec!["end".to_owned()]), "{result}");
        assert_eq!((&result["verified_to"], &result["clean"]), (&head.into(), &false.into()), "{result}");
        let what = result["problems"][0]["what"].as_str().expect("a text");
        assert!(what.contains(&format!("ends at {head}, before --from {from}")), "{what}");
    }
}

#[test]
fn a_missing_store_gives_no_result() {
    let data = tempfile::tempdir().expect("a directory");
    let output = cli::run(data.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not exist"), "{output:?}");
}

#[test]
fn a_check_that_cannot_run_does_not_report_damage() {
    let data = tempfile::tempdir().expect("a directory");
    for arguments in [&["verify"][..], &["verify", "--config", "typo.toml"], &["verify", "--repair"]] {
        let output = cli::run(data.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
        let output = cli::run(data.path(), &[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(said["error"].as_str().is_some_and(|error| !error.is_empty()), "{said}");
    }
}

#[test]
fn a_damaged_index_is_rebuilt_from_the_log() {
    for (table, column, row) in columns().filter(|(table, ..)| *table != "log") {
        let data = stopped();
        flip_value(data.path(), table, column, row);
        let (code, result) = cli::verify(data.path(), &["--repair"]);
        assert!(code == 0 || kinds(&result) == ["views"], "{table}.{column} where {row}: {result}");
    }
}

#[test]
fn an_index_is_not_rebuilt_under_a_running_service() {
    let data = stopped();
    let _service = TestApp::start_on(data.path());
    let output = cli::run(data.path(), &["verify", "--repair"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{output:?}");
}

#[test]
fn the_write_ahead_log_can_be_truncated_while_heads_are_compared() {
    let data = stopped();
    let ambient = Ambient::system();
    let store = SqliteStore::open(data.path(), &ambient).expect("a store");
    let started = || NewEvent {
        id: ambient.event_id(),
        kind: "node.started".into(),
        schema: 1,
        time: ambient.now(),
        causation: "test".into(),
        actor: "test".into(),
        data: br#"{"release": "test"}"#.as_slice().into(),
    };
    let appending = (0..2_500).map(|number| {
        store.append(StreamName::node(&format!("n{number}")), ExpectedVersion::NoStream, vec![started()])
    });
    let appending: Vec<_> = appending.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for append in appending {
        runtime.block_on(append).expect("appended");
    }
    store.close();
    let conn = rusqlite::Connection::open(data.path().join("log.db")).expect("a database");
    let mut cut = 0;
    let verified = store_files(data.path()).verify(Position::START, &mut |work| {
        if work.what == "streams" {
            conn.execute("UPDATE meta SET value = value WHERE key = 'floor'", []).expect("written");
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            let is_busy: i64 = conn.query_row(sql, [], |row| row.get(0)).expect("a checkpoint");
            assert_eq!(is_busy, 0, "somebody holds a moment of the log");
            cut += 1;
        }
    });
    let verified = verified.expect("it is read");
    assert!(verified.clean && verified.streams == 2_505, "{verified:?}");
    assert!(cut >= 3, "{cut} portions");
}
