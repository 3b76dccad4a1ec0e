//! `amoiq backup` and `amoiq restore`.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use amoiq_testkit::{AppLauncher, SECRET_KEY, TestApp, cli, eventually};
use serde_json::Value;

use crate::operations::{
    stores::released_stores::{configuration, reopened},
    stores::written_stores::{SESSIONS, new_file, say_as_ann, stopped, texts_of},
};

#[test]
fn a_backup_of_a_stopped_store_is_restored() {
    let data = stopped();
    let (folder, file) = new_file();
    cli::stdout_of(data.path(), &["backup", file.to_str().expect("a path")]);
    let names: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names, ["file"], "nothing else is left");
    assert_eq!(cli::verify(data.path(), &[file.to_str().expect("a path")]).0, 0);

    let restored = tempfile::tempdir().expect("a directory");
    cli::stdout_of(restored.path(), &["restore", file.to_str().expect("a path")]);
    let (code, after) = cli::verify(restored.path(), &[]);
    let (_, before) = cli::verify(data.path(), &[]);
    assert_eq!((code, &after["events"]), (0, &before["events"]), "{after}");
    assert_ne!(after["epoch"], before["epoch"], "a restore begins another history");
    let service = TestApp::start_on(restored.path());
    for (session, _) in SESSIONS {
        assert_eq!(service.texts(SECRET_KEY, session), Ok(texts_of(session)));
    }
    assert_eq!(say_as_ann(&service, "session-two", "it goes on").status, 200);
}

#[test]
fn a_backup_under_load_has_everything_that_was_acknowledged_before_it_started() {
    let data = stopped();
    let service = TestApp::start_on(data.path());
    let (acknowledged, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (_folder, file) = new_file();
    let before = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                assert_eq!(say_as_ann(&service, "session-of-load", &format!("message {number}")).status, 200);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        });
        eventually("messages are acknowledged", || acknowledged.load(Ordering::Relaxed) > 20);
        let before = acknowledged.load(Ordering::Relaxed);
        let output = cli::run(data.path(), &["backup", file.to_str().expect("a path")]);
        is_over.store(true, Ordering::Relaxed);
        assert!(output.status.success(), "{output:?}");
        before
    });
    let restored = tempfile::tempdir().expect("a directory");
    cli::stdout_of(restored.path(), &["restore", file.to_str().expect("a path")]);
    assert_eq!(cli::verify(restored.path(), &[]).0, 0);
    let texts = TestApp::start_on(restored.path()).texts(SECRET_KEY, "session-of-load").expect("a history");
    assert!(texts.len() >= before, "{} of {before}", texts.len());
    let expected: Vec<_> = (0..texts.len()).map(|number| format!("message {number}")).collect();
    assert_eq!(texts, expected, "the first ones, in order");
}

#[test]
fn a_restore_ends_at_the_given_position_or_time() {
    let data = stopped();
    let (_folder, file) = new_file();
    let file = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["backup", file]);
    let events = cli::stdout_of(
        data.path(),
        &["events", "--json", "--session", "session-long", "--type", "message.created"],
    );
    let tenth: Value = serde_json::from_str(events.lines().nth(9).expect("a tenth")).expect("JSON");
    let place = tenth["position"].to_string();

    let restored = tempfile::tempdir().expect("a directory");
    cli::stdout_of(restored.path(), &["restore", file, "--to", &place]);
    let (code, result) = cli::verify(restored.path(), &[]);
    assert_eq!((code, &result["events"]), (0, &tenth["position"]), "{result}");
    let service = TestApp::start_on(restored.path());
    assert_eq!(service.texts(SECRET_KEY, "session-long").expect("a history"), texts_of("session-long")[..10]);
    assert_eq!(service.texts(SECRET_KEY, "session-two"), Err(404));
    assert_eq!(say_as_ann(&service, "session-long", "another eleventh").status, 200);
    assert_eq!(service.texts(SECRET_KEY, "session-long").expect("a history").len(), 11);
    service.stop();
    let (code, result) = cli::verify(restored.path(), &[]);
    assert_eq!(code, 0, "{result}");

    let restored = tempfile::tempdir().expect("a directory");
    cli::stdout_of(restored.path(), &["restore", file, "--to", tenth["time"].as_str().expect("a time")]);
    let (code, result) = cli::verify(restored.path(), &[]);
    assert!(code == 0 && result["events"].as_u64() >= tenth["position"].as_u64(), "{result}");
}

#[test]
fn nothing_is_overwritten() {
    let data = stopped();
    let (folder, file) = new_file();
    let path = file.to_str().expect("a path");
    fs::write(&file, "mine").expect("written");
    refused(&cli::run(data.path(), &["backup", path]), "nothing is overwritten");
    assert_eq!(fs::read(&file).expect("still there"), b"mine");
    fs::remove_file(&file).expect("removed");
    cli::stdout_of(data.path(), &["backup", path]);

    let before = fs::read(data.path().join("log.db")).expect("a log");
    refused(&cli::run(data.path(), &["restore", path]), "move it away");
    assert_eq!(fs::read(data.path().join("log.db")).expect("a log"), before);
    let service = TestApp::start_on(data.path());
    refused(&cli::run(data.path(), &["restore", path]), "in use");
    drop(service);
    let empty = tempfile::tempdir().expect("a directory");
    refused(
        &cli::run(empty.path(), &["restore", data.path().join("views.db").to_str().expect("a path")]),
        "",
    );
    refused(
        &cli::run(empty.path(), &["restore", folder.path().join("none").to_str().expect("a path")]),
        "does not exist",
    );
}

#[test]
fn a_failed_backup_leaves_nothing_and_names_its_file_once() {
    let data = stopped();
    let (folder, file) = new_file();
    let none = file.join("none");
    let output = cli::run(data.path(), &["backup", none.to_str().expect("a path")]);
    refused(&output, "");
    let expected = format!("amoiq: {}: No such file or directory (os error 2)\n", none.display());
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    // SQLite would write another file than the one that only its owner reads.
    let odd = folder.path().join(OsStr::from_bytes(b"odd\xff.db"));
    refused(&cli::command(data.path()).arg("backup").arg(odd).output().expect("the program runs"), "UTF-8");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_damaged_store_makes_no_backup_and_a_damaged_backup_no_store() {
    let data = stopped();
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["backup", path]);
    let conn = rusqlite::Connection::open(&file).expect("a database");
    conn.execute("UPDATE log SET actor = 'x' WHERE position = 9", []).expect("changed");
    drop(conn);
    let empty = tempfile::tempdir().expect("a directory");
    refused(&cli::run(empty.path(), &["restore", path]), "does not verify");
    assert!(!empty.path().join("log.db").exists());

    fs::remove_file(&file).expect("removed");
    crate::operations::stores::store_damage::sql(
        data.path(),
        "UPDATE log SET actor = 'x' WHERE position = 9",
    );
    refused(&cli::run(data.path(), &["backup", path]), "amoiq verify");
    assert!(!file.exists());
}

#[test]
fn the_outbox_is_restored_with_the_log() {
    let data = reopened();
    let rows = |data: &Path| {
        let outbox = rusqlite::Connection::open(data.join("outbox.db")).expect("a database");
        ["meta", "lanes", "deliveries", "attempts"].map(|table| {
            let mut statement = outbox.prepare(&format!("SELECT checksum FROM {table}")).expect("a table");
            let sums = statement.query_map([], |row| row.get(0)).expect("rows");
            sums.collect::<Result<Vec<i64>, _>>().expect("rows")
        })
    };
    let before = rows(data.path());
    assert!(before.iter().all(|sums| !sums.is_empty()));
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["backup", path]);
    let restored = tempfile::tempdir().expect("a directory");
    cli::stdout_of(restored.path(), &["restore", path]);
    assert_eq!(rows(restored.path()), before);
    let definitions = |data: &Path| {
        let outbox = rusqlite::Connection::open(data.join("outbox.db")).expect("a database");
        let sql = "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_master ORDER BY type, name)";
        outbox.query_row(sql, [], |row| row.get::<_, String>(0)).expect("definitions")
    };
    assert_eq!(definitions(restored.path()), definitions(data.path()));

    let conn = rusqlite::Connection::open(&file).expect("a database");
    conn.execute("UPDATE outbox_lanes SET cursor = cursor - 1 WHERE id = 1", []).expect("changed");
    drop(conn);
    let (code, result) = cli::verify(data.path(), &[path]);
    assert_eq!((code, &result["counts"]["outbox"]), (1, &Value::from(1)), "{result}");
}

#[test]
fn endpoints_are_reset_to_the_end_of_a_restored_log_before_anybody_is_served() {
    const UNTIL: i64 = 60;
    let data = reopened();
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["backup", path]);
    let restored = tempfile::tempdir().expect("a directory");
    cli::stdout_of(restored.path(), &["restore", path, "--to", &UNTIL.to_string()]);
    let number = |file: &str, sql: &str| -> i64 {
        let conn = rusqlite::Connection::open(restored.path().join(file)).expect("a database");
        conn.query_row(sql, [], |row| row.get(0)).expect("a number")
    };
    let cursor = "SELECT max(cursor) FROM lanes";
    assert!(number("outbox.db", cursor) > UNTIL);
    let _service = AppLauncher::new().data(restored.path()).config_file(&configuration()).start();
    let epoch = number("log.db", "SELECT value FROM meta WHERE key = 'epoch'");
    assert_eq!(number("outbox.db", "SELECT epoch FROM meta"), epoch);
    assert!(number("outbox.db", "SELECT min(cursor) FROM lanes") <= UNTIL);
}

pub fn refused(output: &std::process::Output, why: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(why) && !said.contains("panicked"), "{said}");
}
