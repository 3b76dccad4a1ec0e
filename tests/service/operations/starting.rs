//! What a start reports about the files that it finds, and about the process that has them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

use amoiq_events::{Ambient, store::sqlite::SqliteStore};
use amoiq_testkit::{AppLauncher, TestApp, cli};

use crate::operations::stores::written_stores::{say_as_ann, stopped};

/// A start whose lines are read one by one. It is killed when it is dropped.
struct Starting {
    process: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Starting {
    fn on(data: &Path) -> Self {
        let mut command = cli::command(data);
        command.env("AMOIQ__LOG__LEVEL", "warn").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("it starts");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        Self { process, lines: Box::new(lines) }
    }

    /// What it prints up to and including a line that contains this text, which has to come before the greeting ends.
    fn until(&mut self, part: &str) -> String {
        let mut said = String::new();
        for line in self.lines.by_ref() {
            said.push_str(&line);
            said.push('\n');
            if line.contains(part) {
                return said;
            }
            assert!(!line.contains(" listens on "), "it started without `{part}`: {said}");
        }
        panic!("it ended without `{part}`: {said}");
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_start_waits_for_the_process_that_has_the_store_and_names_it() {
    let data = stopped();
    let store = SqliteStore::open(data.path(), &Ambient::system()).expect("the store");
    let mut starting = Starting::on(data.path());
    let said = starting.until("waiting");
    assert!(said.contains(&format!("({}, `service-", std::process::id())), "{said}");
    drop(store);
    starting.until(" listens on ");
}

#[test]
fn a_start_and_a_rebuild_that_waited_in_vain_name_the_process_that_has_the_store() {
    let data = stopped();
    let _store = SqliteStore::open(data.path(), &Ambient::system()).expect("the store");
    let own = format!("({}, `service-", std::process::id());
    let refused = std::thread::scope(|scope| {
        let rebuilding = scope.spawn(|| cli::run(data.path(), &["rebuild", "inbox"]));
        let started =
            AppLauncher::new().data(data.path()).try_start().map(drop).expect_err("somebody has it");
        let rebuilt = rebuilding.join().expect("it ended");
        [started, String::from_utf8_lossy(&rebuilt.stderr).into_owned()]
    });
    for said in refused {
        assert!(said.contains(&own) && said.contains("in use by another process"), "{said}");
    }
}

#[test]
fn a_start_names_missing_files() {
    for (file, said) in [("outbox.db", "outbox.db is gone"), ("log.witness", "log.witness is gone")] {
        let data = stopped();
        fs::remove_file(data.path().join(file)).expect("removed");
        Starting::on(data.path()).until(said);
        let everything = Starting::on(data.path()).until(" listens on ");
        assert!(!everything.contains(" is gone"), "{file} is there again: {everything}");
    }
    let fresh = tempfile::tempdir().expect("a directory");
    let everything = Starting::on(fresh.path()).until(" listens on ");
    assert!(!everything.contains(" is gone"), "{everything}");
}

#[test]
fn verify_counts_streams_that_a_running_service_has_not_indexed_yet() {
    let data = tempfile::tempdir().expect("a directory");
    let service = TestApp::start_on(data.path());
    for number in 0..7 {
        assert_eq!(say_as_ann(&service, &format!("session-of-{number}"), "hello").status, 200);
    }
    let (code, verification) = cli::verify(data.path(), &[]);
    assert_eq!(code, 0, "{verification}");
    let beside = verification["streams"].as_u64().expect("a number");
    assert!(beside >= 7, "{verification}");
    service.stop();
    let stopped = cli::verify(data.path(), &[]).1["streams"].as_u64().expect("a number");
    assert!(stopped >= beside, "{stopped}");
}

#[test]
#[cfg(not(feature = "kurrentdb"))]
fn a_program_without_kurrentdb_says_how_to_get_one_with_it() {
    let data = tempfile::tempdir().expect("a directory");
    let settings = [("AMOIQ__STORE__BACKEND", "kurrentdb"), ("AMOIQ__STORE__URL", "esdb://db.example")];
    let launcher = AppLauncher::new().data(data.path()).settings(&settings);
    let printed = launcher.try_start().err().expect("it does not start");
    let error = printed.lines().find(|line| line.contains("KurrentDB")).expect("the reason");
    insta::assert_snapshot!(error, @"amoiq: store.backend = kurrentdb: this program was built without KurrentDB: build one with `cargo build --release --features kurrentdb`, or use another store.backend");
}
