//! Events that cannot be read: one that no release decodes is kept and copied, one whose row is damaged is left out on
//! request.

use std::path::Path;

use amoiq_events::{
    Ambient, EventLog, NewEvent, SessionId, StreamName, TenantId,
    store::{ExpectedVersion, sqlite::SqliteStore},
};
use amoiq_testkit::{SECRET_KEY, TestApp, cli};
use serde_json::Value;

use crate::operations::{
    stores::store_damage::{flip_value, sql},
    stores::written_stores::{new_file, say_as_ann, stopped, texts_of},
};

/// Appends an event that no release decodes. Returns its position.
fn poison(data: &Path) -> u64 {
    let ambient = Ambient::system();
    let store = SqliteStore::open(data, &ambient).expect("the store");
    let session = SessionId::parse("poisoned").expect("an id");
    let stream = StreamName::session(&TenantId::parse("demo").expect("an id"), &session);
    let event = NewEvent {
        id: ambient.event_id(),
        kind: "message.created".into(),
        schema: 1,
        time: ambient.now(),
        causation: "request".into(),
        actor: "test".into(),
        data: b"{\"text\": ".as_slice().into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let appended =
        runtime.block_on(store.append(stream, ExpectedVersion::Any, vec![event])).expect("appended");
    appended.position.as_u64()
}

#[test]
fn an_event_that_cannot_be_decoded_survives_backup_restore_export_and_import() {
    let data = stopped();
    let position = poison(data.path());
    let (code, result) = cli::verify(data.path(), &[]);
    assert_eq!((code, &result["counts"]), (1, &serde_json::json!({"codec": 1})), "{result}");
    let (_backups, backup) = new_file();
    let (_exports, export) = new_file();
    let (backup, export) = (backup.to_str().expect("a path"), export.to_str().expect("a path"));
    cli::stdout_of(data.path(), &["events", "export", export]);
    for (from, to) in
        [(&["backup", backup][..], &["restore", backup][..]), (&[], &["events", "import", export])]
    {
        let restored = tempfile::tempdir().expect("a directory");
        for (place, arguments) in [(data.path(), from), (restored.path(), to)] {
            if arguments.is_empty() {
                continue;
            }
            let output = cli::run(place, arguments);
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(&format!("note: position {position} ")), "{arguments:?}: {said}");
        }
        let (code, result) = cli::verify(restored.path(), &[]);
        assert_eq!((code, &result["problems"][0]["position"]), (1, &Value::from(position)), "{result}");
        assert_eq!(result["counts"], serde_json::json!({"codec": 1}), "{result}");
    }
}

#[test]
fn a_store_with_damaged_rows_is_exported_without_them_on_request() {
    let data = stopped();
    flip_value(data.path(), "log", "data", "position = 40");
    flip_value(data.path(), "log", "stream", "position = 45");
    assert_eq!(cli::run(data.path(), &["events", "export"]).status.code(), Some(1));
    let (_folder, file) = new_file();
    let file = file.to_str().expect("a path");
    let output = cli::run(data.path(), &["events", "export", "--skip-damaged", file]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("left out: position 40\n") && said.contains("left out: position 45\n"), "{said}");
    assert!(said.contains(" events of session:demo:session-long after a damaged one"), "{said}");

    let other = tempfile::tempdir().expect("a directory");
    cli::stdout_of(other.path(), &["events", "import", file]);
    let (code, result) = cli::verify(other.path(), &[]);
    assert_eq!(code, 0, "{result}");
    let (_, before) = cli::verify(data.path(), &[]);
    assert_eq!(result["events"].as_u64().map(|events| events + left_out(&said)), before["events"].as_u64());
    let service = TestApp::start_on(other.path());
    let (texts, whole) =
        (service.texts(SECRET_KEY, "session-long").expect("a history"), texts_of("session-long"));
    assert!(texts.len() > 20 && texts.len() < 45, "{}", texts.len());
    assert_eq!(texts, whole[..texts.len()], "as it was before what does not read");
    assert_eq!(service.texts(SECRET_KEY, "session-two"), Ok(texts_of("session-two")));
    assert_eq!(say_as_ann(&service, "session-long", "and on").status, 200);
}

/// How many events it reports as left out.
fn left_out(said: &str) -> u64 {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let lines = said.lines().filter_map(|line| line.strip_prefix("left out: "));
    let counts = lines.map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        ["position", _] => 1,
        ["positions", first, "to", last] => number(last) - number(first) + 1,
        [count, "events", ..] => number(count),
        _ => panic!("{line}"),
    });
    counts.sum()
}

#[test]
fn events_on_an_unreadable_page_are_left_out() {
    let data = stopped();
    sql(data.path(), "PRAGMA wal_checkpoint(TRUNCATE)");
    let lines = cli::stdout_of(data.path(), &["events", "export"]).lines().count() as u64;
    let (first, size): (i64, i64) = rusqlite::Connection::open(data.path().join("log.db"))
        .and_then(|conn| {
            let sql = "SELECT (pageno - 1) * pgsize, pgsize FROM dbstat WHERE name = 'log' AND pagetype = 'leaf' LIMIT 1";
            conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .expect("a leaf");
    let [first, size] = [first, size].map(|number| usize::try_from(number).expect("a number"));
    let path = data.path().join("log.db");
    let mut bytes = std::fs::read(&path).expect("a file");
    bytes[first..first + size].fill(0x5a);
    std::fs::write(&path, bytes).expect("written");

    let output = cli::run(data.path(), &["events", "export", "--skip-damaged"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("left out: positions "), "{said}");
    let exported = String::from_utf8_lossy(&output.stdout).lines().count() as u64;
    assert_eq!(exported + left_out(&said), lines, "{said}");
}
