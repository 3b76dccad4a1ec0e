//! What a restore and a stop leave: nothing incomplete, nothing damaged, nothing that others can read.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use amoiq_testkit::{AppLauncher, SECRET_KEY, TestApp, cli};

use crate::operations::{
    backups::refused,
    stores::released_stores::reopened,
    stores::written_stores::{new_file, say_as_ann, stopped, texts_of},
};

/// A restore that was killed between giving the outbox its name and the log.
fn interrupted(file: &str) -> tempfile::TempDir {
    let restored = tempfile::tempdir().expect("a directory");
    cli::stdout_of(restored.path(), &["restore", file]);
    fs::rename(restored.path().join("log.db"), restored.path().join("log.db.new")).expect("renamed");
    fs::remove_file(restored.path().join("log.witness")).expect("removed");
    restored
}

#[test]
fn a_killed_restore_leaves_no_empty_store_and_can_be_repeated() {
    let data = reopened();
    let (_folder, file) = new_file();
    let file = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["backup", file]);
    let restored = interrupted(file);
    assert!(restored.path().join("outbox.db").exists());
    let said = AppLauncher::new().data(restored.path()).try_start().err().expect("it does not start");
    assert!(said.contains("amoiq restore"), "{said}");
    assert!(!restored.path().join("log.db").exists());

    cli::stdout_of(restored.path(), &["restore", file]);
    let (code, result) = cli::verify(restored.path(), &[]);
    assert_eq!(code, 0, "{result}");
    let (_, before) = cli::verify(data.path(), &[]);
    assert_eq!(result["events"], before["events"]);
    assert!(!restored.path().join("log.db.new").exists());
}

#[test]
fn a_backup_with_a_damaged_outbox_is_not_restored() {
    let data = reopened();
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["backup", path]);
    let conn = rusqlite::Connection::open(&file).expect("a database");
    let changed = conn.execute("UPDATE outbox_deliveries SET attempts = attempts + 1 WHERE lane = 1", []);
    assert!(changed.expect("changed") > 0);
    drop(conn);
    let empty = tempfile::tempdir().expect("a directory");
    refused(&cli::run(empty.path(), &["restore", path]), "does not verify");
    assert!(!empty.path().join("log.db").exists() && !empty.path().join("outbox.db").exists());
}

#[test]
fn only_the_owner_can_read_the_files_of_a_start_a_restore_and_an_import() {
    let (_folder, file) = new_file();
    let (_exports, lines) = new_file();
    let (file, lines) = (file.to_str().expect("a path"), lines.to_str().expect("a path"));
    let parent = tempfile::tempdir().expect("a directory");
    let data = parent.path().join("by").join("start");
    let service = TestApp::start_on(&data);
    assert_eq!(say_as_ann(&service, "session", "hello").status, 200);
    only_owner(&data);
    service.stop();
    cli::stdout_of(&data, &["backup", file]);
    cli::stdout_of(&data, &["events", "export", lines]);
    for (name, arguments) in [("restore", &["restore", file][..]), ("import", &["events", "import", lines])] {
        let data = parent.path().join(name);
        cli::stdout_of(&data, arguments);
        only_owner(&data);
        let service = TestApp::start_on(&data);
        assert_eq!(say_as_ann(&service, "session", "hello again").status, 200);
        only_owner(&data);
    }
}

#[test]
fn a_stop_leaves_each_database_in_one_file() {
    let (data, copied) = (stopped(), tempfile::tempdir().expect("a directory"));
    for name in ["log.db", "log.witness", "views.db", "outbox.db"] {
        let beside = fs::metadata(data.path().join(format!("{name}-wal")));
        assert_eq!(beside.map_or(0, |file| file.len()), 0, "beside {name}");
        fs::copy(data.path().join(name), copied.path().join(name)).expect("copied");
    }
    let (code, result) = cli::verify(copied.path(), &[]);
    assert_eq!((code, &result["notes"]), (0, &serde_json::json!([])), "{result}");
    let service = TestApp::start_on(copied.path());
    assert_eq!(service.texts(SECRET_KEY, "session-long").expect("texts"), texts_of("session-long"));
}

/// Checks that only the owner can enter the directory and read the databases in it and the files beside them.
fn only_owner(data: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(data), 0o700, "{}", data.display());
    let entries = fs::read_dir(data).expect("a directory").map(|entry| entry.expect("an entry").path());
    let databases: Vec<_> = entries.filter(|path| path.to_string_lossy().contains(".db")).collect();
    assert!(!databases.is_empty());
    for path in databases {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
