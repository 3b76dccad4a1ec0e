//! Truncated streams, and files that cannot be written: operators' commands work on them too. Presence is shown as of any
//! position.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::Stdio,
};

use amoiq_events::{
    Ambient, EventLog, NewEvent, SessionId, StreamName, TenantId, Version,
    store::LogMaintenance,
    store::{ExpectedVersion, sqlite::SqliteStore},
};
use amoiq_testkit::{SECRET_KEY, TestApp, cli, store_invariants::copy_of};
use serde_json::Value;

use crate::operations::{
    stores::released_stores::unpacked,
    stores::written_stores::{killed, new_file, say_as_ann, stopped, texts_of},
};

/// The first version of the long session that stays.
const FIRST: u64 = 40;

/// The shared store, with the start of one session truncated and another session deleted.
fn truncated() -> tempfile::TempDir {
    let data = stopped();
    let store = SqliteStore::open(data.path(), &Ambient::system()).expect("a store");
    let tenant = TenantId::try_from("demo".to_owned()).expect("a tenant");
    let stream = |session: &str| StreamName::session(&tenant, &SessionId::parse(session).expect("a session"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let cut = store.truncate(stream("session-long"), Version::from_u64(FIRST));
    runtime.block_on(cut).expect("truncated");
    runtime.block_on(store.delete(stream("session-three"))).expect("deleted");
    data
}

fn events(data: &Path, session: &str) -> Vec<Value> {
    let lines = cli::stdout_of(data, &["events", "--json", "--session", session]);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn versions(data: &Path, session: &str) -> Vec<u64> {
    events(data, session).iter().map(|event| event["version"].as_u64().expect("a number")).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_restore_cuts_before_and_after_the_start_of_a_truncated_stream() {
    let whole = events(stopped().path(), "session-long");
    let data = truncated();
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!(code, 0, "{result}");
    let all = versions(data.path(), "session-long");
    assert_eq!(all.first(), Some(&FIRST));
    let (_folder, file) = new_file();
    let file = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["backup", file]);
    for (version, kept) in [(FIRST - 10, 0), (FIRST - 1, 0), (FIRST, 1), (FIRST + 5, 6)] {
        let place = whole[usize::try_from(version).expect("a number") - 1]["position"].to_string();
        let restored = tempfile::tempdir().expect("a directory");
        cli::stdout_of(restored.path(), &["restore", file, "--to", &place]);
        let (code, result) = cli::verify(restored.path(), &[]);
        assert_eq!(code, 0, "to version {version}: {result}");
        assert_eq!(versions(restored.path(), "session-long"), all[..kept], "to version {version}");
        TestApp::start_on(restored.path()).stop();
        let (code, result) = cli::verify(restored.path(), &[]);
        assert_eq!(code, 0, "to version {version}, used: {result}");
    }
}

#[test]
fn an_import_takes_truncated_streams_as_they_are() {
    let data = truncated();
    let (_folder, file) = new_file();
    let file = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["events", "export", file]);
    let other = tempfile::tempdir().expect("a directory");
    cli::stdout_of(other.path(), &["events", "import", file]);
    assert_eq!(cli::stdout_of(other.path(), &["events", "export"]), fs::read_to_string(file).expect("lines"));
    assert_eq!(versions(other.path(), "session-long"), versions(data.path(), "session-long"));
    let service = TestApp::start_on(other.path());
    assert_eq!(service.texts(SECRET_KEY, "session-two"), Ok(texts_of("session-two")));
    assert_eq!(service.texts(SECRET_KEY, "session-three"), Err(404));
    assert_eq!(say_as_ann(&service, "session-three", "a new one").status, 200);
    service.stop();
    let (code, result) = cli::verify(other.path(), &[]);
    assert_eq!(code, 0, "{result}");
}

#[test]
fn an_export_is_one_moment_of_a_log_that_is_truncated_meanwhile() {
    const EVENTS: u64 = 3_000;
    let data = stopped();
    let ambient = Ambient::system();
    let store = SqliteStore::open(data.path(), &ambient).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let stream = StreamName::node("node");
    for _ in 0..EVENTS / 100 {
        let some = (0..100).map(|_| NewEvent {
            id: ambient.event_id(),
            kind: "node.started".into(),
            schema: 1,
            time: ambient.now(),
            causation: "test".into(),
            actor: "test".into(),
            data: br#"{"release": "test"}"#.as_slice().into(),
        });
        runtime
            .block_on(store.append(stream.clone(), ExpectedVersion::Any, some.collect()))
            .expect("appended");
    }
    let expected = cli::stdout_of(data.path(), &["events", "export"]);
    // Nobody reads its output, so it waits with most of the log ahead.
    let exporting = cli::command(data.path()).args(["events", "export"]).stdout(Stdio::piped()).spawn();
    let mut exporting = exporting.expect("it starts");
    let mut lines = BufReader::new(exporting.stdout.take().expect("a pipe"));
    let mut exported = String::new();
    lines.read_line(&mut exported).expect("a line");
    let cut = store.truncate(stream, Version::from_u64(EVENTS - 10));
    runtime.block_on(cut).expect("truncated");
    lines.read_to_string(&mut exported).expect("the rest");
    assert!(exporting.wait().expect("it ended").success());
    assert!(exported == expected, "not as it was at the begin");
    assert!(expected.len() > 512 * 1024, "more than a pipe holds: {}", expected.len());

    let (_folder, file) = new_file();
    fs::write(&file, exported).expect("written");
    let other = tempfile::tempdir().expect("a directory");
    cli::stdout_of(other.path(), &["events", "import", file.to_str().expect("a path")]);
    assert_eq!(cli::verify(other.path(), &[]).0, 0);
}

#[test]
fn a_stopped_store_is_read_where_nothing_can_be_written() {
    let data = stopped();
    let expected = cli::stdout_of(data.path(), &["events", "export"]);
    bar(data.path());
    assert_eq!(cli::stdout_of(data.path(), &["events", "export"]), expected);
    let shown = json(&cli::stdout_of(
        data.path(),
        &["state", "--tenant", "demo", "--session", "session-two", "--json"],
    ));
    assert_eq!(shown["messages"].as_array().map(Vec::len), Some(5));
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!(code, 0, "{result}");

    // With a write-ahead log it shows everything or refuses: never only what is in the one file.
    let data = killed();
    let expected = cli::stdout_of(copy_of(data.path()).path(), &["events", "export"]);
    assert!(fs::metadata(data.path().join("log.db-wal")).expect("a file").len() > 0);
    bar(data.path());
    let output = cli::run(data.path(), &["events", "export"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let is_refused = output.status.code() == Some(1) && said.contains("copy the directory");
    assert!(is_refused || String::from_utf8_lossy(&output.stdout) == expected, "{output:?}");
}

/// Occupies the name of the file that SQLite creates for reading, because root may write despite any mode.
fn bar(data: &Path) {
    for name in ["log.db", "views.db", "outbox.db"] {
        let shared = data.join(format!("{name}-shm"));
        drop(fs::remove_file(&shared));
        fs::create_dir(&shared).expect("made");
        let write_ahead = data.join(format!("{name}-wal"));
        if fs::metadata(&write_ahead).is_ok_and(|file| file.len() == 0) {
            fs::remove_file(write_ahead).expect("removed");
        }
    }
}

#[test]
fn presence_is_shown_as_of_any_position() {
    let (data, expected) = unpacked("0.1.0");
    let online = |at: &str| -> Vec<String> {
        let asked = ["state", "--tenant", "acme", "--json", "--at", at];
        let users = json(&cli::stdout_of(data.path(), &asked))["online"].clone();
        let users = users.as_array().expect("a list").clone();
        users.iter().map(|user| user["userId"].as_str().expect("an id").to_owned()).collect()
    };
    let events = expected["events"].as_array().expect("a list");
    let mut there = Vec::new();
    let mut changes = 0;
    for event in events {
        let user = event["data"]["userId"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().expect("a type") {
            "user.online" => there.push(user),
            "user.offline" => there.retain(|other| *other != user),
            "node.started" => there.clear(),
            _ => continue,
        }
        assert_eq!(online(&event["position"].to_string()), there, "at {event}");
        changes += usize::from(!there.is_empty());
    }
    assert!(changes >= 4, "{changes}");
}
