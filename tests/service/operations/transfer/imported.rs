//! `amoiq events export` and `import` with a log in a database.

use std::{fs, io::Write, process::Stdio};

use amoiq_testkit::{AppLauncher, cli, eventually};

use super::database_log::DatabaseLog;
use crate::operations::stores::written_stores::{new_file, stopped};

#[test]
fn lines_go_into_a_database_and_come_out_the_same() {
    let (files, database) = (stopped(), DatabaseLog::new());
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    cli::stdout_of(files.path(), &["events", "export", path]);
    let lines = fs::read_to_string(&file).expect("lines");
    database.stdout_of(&["events", "import", path]);
    assert_eq!(database.stdout_of(&["events", "export"]), lines);
    assert!(database.run(&["verify"]).status.success());

    let again = database.failure_of(&["events", "import", path]);
    assert!(again.contains("holds a log already"), "{again}");
    let (_folder, from_database) = new_file();
    database.stdout_of(&["events", "export", from_database.to_str().expect("a path")]);
    assert_eq!(fs::read_to_string(&from_database).expect("lines"), lines);
    let other = tempfile::tempdir().expect("a directory");
    cli::stdout_of(other.path(), &["events", "import", from_database.to_str().expect("a path")]);
    assert_eq!(cli::stdout_of(other.path(), &["events", "export"]), lines);
}

#[test]
fn a_stream_that_starts_late_is_imported_with_its_versions() {
    let (files, database) = (stopped(), DatabaseLog::new());
    let lines = cli::stdout_of(files.path(), &["events", "export"]);
    let is_early = |line: &&str| !(line.contains(":session-long\",\"version\":1,"));
    let late: Vec<&str> = lines.lines().filter(is_early).collect();
    let (events, rest) = late.split_at(late.len() - 1);
    assert!(events.len() + 2 == lines.lines().count(), "one event is left out");
    let end = rest[0].replace(&format!(":{}", events.len() + 1), &format!(":{}", events.len()));
    // The end line names the position too, which is the same number where nothing was removed.
    let last = lines.lines().count() - 1;
    let end = end.replacen(&format!("\"position\":{}", events.len()), &format!("\"position\":{last}"), 1);
    let late = [events.join("\n"), end].join("\n") + "\n";
    let (_folder, file) = new_file();
    fs::write(&file, &late).expect("written");
    database.stdout_of(&["events", "import", file.to_str().expect("a path")]);
    assert_eq!(database.stdout_of(&["events", "export"]), late);
    assert_eq!(database.ask("SELECT max(removed) FROM {schema}.streams"), "1");
}

#[test]
fn an_import_that_fails_leaves_an_empty_log() {
    let (files, database) = (stopped(), DatabaseLog::new());
    let lines = cli::stdout_of(files.path(), &["events", "export"]);
    let all: Vec<&str> = lines.lines().collect();
    let gap = [&all[..1], &all[2..]].concat().join("\n");
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    for (text, why) in [(gap, "line 2"), (lines[..lines.len() - 20].to_owned(), "line ")] {
        fs::write(&file, text).expect("written");
        let said = database.failure_of(&["events", "import", path]);
        assert!(said.contains(why), "{said}");
        let left = "SELECT (SELECT count(*) FROM {schema}.events), (SELECT count(*) FROM {schema}.filling)";
        assert_eq!(database.ask(left), "0|0");
    }
    fs::write(&file, &lines).expect("written");
    database.stdout_of(&["events", "import", path]);
}

#[test]
fn no_service_starts_on_an_import_that_was_killed_and_the_next_import_starts_anew() {
    let (files, database) = (stopped(), DatabaseLog::new());
    let lines = cli::stdout_of(files.path(), &["events", "export"]);
    let mut import = database.command(&["events", "import"]);
    let mut import = import.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut input = import.stdin.take().expect("a pipe");
    // Enough for it to have begun; the rest never comes.
    input.write_all(lines.as_bytes()).expect("read");
    let begun = "SELECT to_regclass('{schema}.filling') IS NOT NULL";
    eventually("it has begun", || {
        database.ask(begun) == "t" && database.ask("SELECT count(*) FROM {schema}.filling") == "1"
    });
    let other = database.failure_of(&["events", "import"]);
    assert!(other.contains("in use") || other.contains("fills the log now"), "{other}");
    import.kill().expect("killed");
    import.wait().expect("it ends");
    drop(input);

    let refused = database.failure_of(&["verify"]);
    assert!(refused.contains("is not complete"), "{refused}");
    let service = database
        .settings()
        .into_iter()
        .fold(AppLauncher::new(), |launcher, (key, value)| launcher.environment(key, &value));
    let output = service.data(database.data.path()).unchecked().output();
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not complete"), "{output:?}");
    let (_folder, file) = new_file();
    fs::write(&file, &lines).expect("written");
    database.stdout_of(&["events", "import", file.to_str().expect("a path")]);
    assert_eq!(database.stdout_of(&["events", "export"]), lines);
}
