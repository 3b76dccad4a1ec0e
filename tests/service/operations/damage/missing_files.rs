//! Commands on a store that does not exist, or on a file that is not a store.

use std::{fs, os::unix::fs::symlink};

use amoiq_testkit::cli;

use crate::operations::{
    backups::refused,
    stores::written_stores::{new_file, stopped},
};

#[test]
fn a_missing_store_has_no_dead_letters() {
    let directory = tempfile::tempdir().expect("a directory");
    for path in [directory.path(), &directory.path().join("none")] {
        for arguments in [&["dead-letters"][..], &["dead-letters", "--json"], &["events"]] {
            let output = cli::run(path, arguments);
            refused(&output, "does not exist");
            assert!(output.stdout.is_empty(), "{output:?}");
        }
    }
    assert_eq!(cli::stdout_of(stopped().path(), &["dead-letters", "--json"]).trim(), "[]");
}

#[test]
fn an_inaccessible_store_is_not_reported_as_missing() {
    let directory = tempfile::tempdir().expect("a directory");
    // Root may read every file, but cannot resolve a circular link.
    let circle = directory.path().join("circle");
    symlink(&circle, &circle).expect("a link");
    for arguments in [["rebuild", "inbox"], ["dead-letters", "--json"]] {
        let output = cli::run(&circle, &arguments);
        refused(&output, "symbolic links");
        assert!(String::from_utf8_lossy(&output.stderr).contains("circle"), "{output:?}");
    }
    refused(&cli::run(directory.path(), &["rebuild", "inbox"]), "there is no store");
}

#[test]
fn a_file_that_is_not_a_log_is_reported_as_such() {
    let (folder, empty) = new_file();
    fs::write(&empty, "").expect("written");
    let foreign = folder.path().join("foreign.db");
    let conn = rusqlite::Connection::open(&foreign).expect("a database");
    conn.execute_batch("CREATE TABLE songs (name TEXT)").expect("made");
    drop(conn);
    let store = tempfile::tempdir().expect("a directory");
    for (file, at_verifying, at_restoring) in
        [(&empty, "is empty", "is empty"), (&foreign, "is not a log of amoiq", "is not a backup")]
    {
        let file = file.to_str().expect("a path");
        let (code, result) = cli::verify(store.path(), &[file]);
        let said = result["error"].as_str().expect("a text");
        assert!(code == 2 && said.contains(at_verifying) && said.contains(file), "{said}");
        let output = cli::run(store.path(), &["restore", file]);
        refused(&output, at_restoring);
        assert!(!store.path().join("log.db").exists(), "{output:?}");
    }
    fs::write(store.path().join("log.db"), "").expect("written");
    let (code, result) = cli::verify(store.path(), &[]);
    assert!(code == 2 && result["error"].as_str().is_some_and(|said| said.contains("is empty")), "{result}");
}
