//! `amoiq events export` and `import`, and `amoiq migrate`: a log leaves one store and enters another.

mod database_log;
mod imported;
mod moved;

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Output,
};

use amoiq_testkit::{SECRET_KEY, TestApp, cli};
use serde_json::{Value, json};

use crate::operations::{
    backups::refused,
    stores::store_damage::flip_value,
    stores::written_stores::{new_file, say_as_ann, stopped, texts_of},
};

#[test]
fn an_imported_export_gives_the_same_export_again() {
    let data = stopped();
    let (folder, file) = new_file();
    let path = file.to_str().expect("a path");
    cli::stdout_of(data.path(), &["events", "export", path]);
    let first = fs::read_to_string(&file).expect("lines");
    assert_eq!(first, cli::stdout_of(data.path(), &["events", "export"]), "to a file as to standard output");
    let mode = fs::metadata(&file).expect("a file").mode() & 0o777;
    assert_eq!((names(folder.path()), mode), (vec!["file".to_owned()], 0o600));
    let events = first.lines().count() as u64 - 1;

    let other = tempfile::tempdir().expect("a directory");
    let imported = cli::stdout_of(other.path(), &["events", "import", path, "--json"]);
    let imported: Value = serde_json::from_str(&imported).expect("JSON");
    assert_eq!(imported["events"].as_u64(), Some(events), "{imported}");
    let (code, result) = cli::verify(other.path(), &[]);
    assert_eq!((code, result["events"].as_u64()), (0, Some(events)), "{result}");
    assert!(first == cli::stdout_of(other.path(), &["events", "export"]), "not the same bytes");
    let service = TestApp::start_on(other.path());
    assert_eq!(service.texts(SECRET_KEY, "session-long"), Ok(texts_of("session-long")));
    assert_eq!(say_as_ann(&service, "session-long", "and on").status, 200);
}

#[test]
fn an_import_is_whole_or_nothing() {
    let data = stopped();
    let lines = cli::stdout_of(data.path(), &["events", "export"]);
    let all: Vec<&str> = lines.lines().collect();
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    let swapped = [&[all[1], all[0]], &all[2..]].concat().join("\n");
    let gap = [&all[..1], &all[2..]].concat().join("\n");
    let cut = lines[..lines.len() - 20].to_owned();
    for (text, why) in
        [(swapped, "line 2"), (gap, "line 2"), (cut, "line "), ("no event".to_owned(), "line 1")]
    {
        fs::write(&file, text).expect("written");
        let empty = tempfile::tempdir().expect("a directory");
        let output = cli::run(empty.path(), &["events", "import", path]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
        assert!(!empty.path().join("log.db").exists());
    }
    fs::write(&file, &lines).expect("written");
    let output = cli::run(data.path(), &["events", "import", path]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is overwritten"), "{output:?}");
    let output = cli::run(data.path(), &["events", "export", path]);
    refused(&output, "nothing is overwritten");
    assert_eq!(fs::read_to_string(&file).expect("still there"), lines);
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let data = stopped();
    flip_value(data.path(), "log", "data", "position = 40");
    let (folder, file) = new_file();
    refused(&cli::run(data.path(), &["events", "export", file.to_str().expect("a path")]), "position 40");
    assert_eq!(names(folder.path()), Vec::<String>::new());
    let none = folder.path().join("none").join("file");
    let output = cli::run(data.path(), &["events", "export", none.to_str().expect("a path")]);
    let expected = format!("amoiq: {}: No such file or directory (os error 2)\n", none.display());
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

#[test]
fn incomplete_lines_are_refused() {
    let data = stopped();
    let lines = cli::stdout_of(data.path(), &["events", "export"]);
    let all: Vec<&str> = lines.lines().collect();
    let (events, end) = (&all[..all.len() - 1], all[all.len() - 1]);
    let head = events.len();
    assert_eq!(end, format!("{{\"end\":{{\"events\":{head},\"position\":{head}}}}}"));
    let short = events[..20].join("\n");
    let another = json!({"end": {"events": head, "position": head + 1}}).to_string();
    let refusals = [
        (String::new(), "no event"),
        (end.to_owned(), "line 1: "),
        (json!({"end": {"events": 0, "position": 0}}).to_string(), "no event"),
        (short.clone(), "--without-end"),
        (events.join("\n"), "--without-end"),
        (format!("{short}\n{end}"), "line 21: "),
        (format!("{}\n{another}", events.join("\n")), &format!("line {}: ", head + 1)),
        (format!("{lines}{end}"), "after the end line"),
    ];
    for (text, why) in refusals {
        let (store, output) = import(&text, &[]);
        refused(&output, why);
        assert!(!store.path().join("log.db").exists());
    }
    refused(&import(&format!("{short}\n{end}"), &["--without-end"]).1, "line 21: ");
    refused(&import("", &["--without-end"]).1, "no event");
    let (store, output) = import(&events.join("\n"), &["--without-end"]);
    assert!(output.status.success(), "what an older release wrote: {output:?}");
    assert_eq!(cli::stdout_of(store.path(), &["events", "export"]), lines);
    assert!(import(&lines, &["--without-end"]).1.status.success(), "it may have one");
}

/// Imports lines from a pipe into a new store.
fn import(text: &str, arguments: &[&str]) -> (tempfile::TempDir, Output) {
    let (_folder, file) = new_file();
    fs::write(&file, text).expect("written");
    let store = tempfile::tempdir().expect("a directory");
    let mut importing = cli::command(store.path());
    importing.args(["events", "import"]).args(arguments).stdin(File::open(file).expect("a file"));
    let output = importing.output().expect("the program runs");
    (store, output)
}

/// What is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("one").file_name().to_string_lossy().into_owned()).collect()
}
