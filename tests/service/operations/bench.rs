//! `amoiq bench` measures on a store of its own, and leaves nothing.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use amoiq_testkit::{SECRET_KEY, TestApp, app_launcher::program_under_test, cli, eventually};
use serde_json::Value;

use crate::operations::stores::written_stores::{stopped, texts_of};

/// Whether a benchmark left something.
fn is_at_work(directory: &Path) -> bool {
    let mut entries = std::fs::read_dir(directory).expect("a directory");
    entries.any(|entry| entry.expect("an entry").file_name().to_string_lossy().starts_with("bench-"))
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_benchmark_runs_beside_a_service_and_leaves_nothing() {
    let data = stopped();
    let service = TestApp::start_on(data.path());
    let output = cli::run(data.path(), &["bench", "--seconds", "1", "--at-once", "8", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let parts: Vec<&Value> = figures.iter().map(|figure| &figure["part"]).collect();
    assert_eq!(parts, ["messages", "disk", "messages", "disk", "rebuild", "verify"]);
    for figure in &figures {
        let number = |field: &str| figure[field].as_f64().unwrap_or_default();
        assert!(number("count") > 0.0 && number("perSecond") > 0.0, "{figure}");
        if ["messages", "disk"].contains(&figure["part"].as_str().expect("a text")) {
            assert!(number("p50Ms") <= number("p99Ms") && number("p99Ms") <= number("maxMs"), "{figure}");
        }
        assert_eq!(figure["ofDisk"].is_number(), figure["part"] == "messages", "{figure}");
    }
    // All that the sessions were sent was read again: twenty messages make twenty-two events.
    let events = |part: &str| -> u64 {
        let of_part = figures.iter().filter(|figure| figure["part"] == part);
        of_part.map(|figure| figure["events"].as_u64().expect("a number")).sum()
    };
    assert!(events("messages") > figures[0]["count"].as_u64().expect("a number"));
    assert_eq!((events("rebuild"), events("verify")), (events("messages"), events("messages")));
    assert!(!is_at_work(data.path()));
    assert_eq!(service.texts(SECRET_KEY, "session-two").expect("texts"), texts_of("session-two"));
    service.stop();
    assert_eq!(cli::verify(data.path(), &[]).0, 0);
}

#[test]
fn the_result_for_people_is_a_table() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = cli::run(directory.path(), &["bench", "--seconds", "1"]);
    let table = String::from_utf8(output.stdout).expect("text");
    let begins = ["", "messages, 1", "the disk", "messages, 64", "the disk", "rebuild", "verification"];
    assert_eq!(table.lines().count(), begins.len(), "{table}");
    for (line, begin) in table.lines().zip(begins) {
        assert!(line.trim_start().starts_with(begin), "{table}");
    }
}

#[test]
fn an_interrupted_benchmark_leaves_nothing() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut bench = cli::command(directory.path());
        bench.args(["bench", "--seconds", "60"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let bench = bench.spawn().expect("it starts");
        eventually("it is at work", || is_at_work(directory.path()));
        let sent = Command::new("kill").args([signal, &bench.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let said = complaint(&bench.wait_with_output().expect("it ends"));
        assert!(said.contains("interrupted"), "{said}");
        assert!(!is_at_work(directory.path()), "{signal}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_stays_on_it() {
    let directory = tempfile::tempdir().expect("a directory");
    // The signal is ignored, so that a write that goes beyond the limit fails as on a full disk.
    let bench = Command::new("prlimit")
        .args(["--fsize=400000", "env", "--ignore-signal=XFSZ"])
        .arg(program_under_test())
        .arg("bench")
        .arg(directory.path())
        .output();
    let said = complaint(&bench.expect("prlimit runs"));
    assert!(said.contains("the store is unavailable"), "{said}");
    assert!(!is_at_work(directory.path()));
}

#[test]
fn without_a_directory_nothing_is_measured() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let said = complaint(&cli::run(&missing, &["bench"]));
    assert!(said.contains("is not a directory: name one on the disk to measure"), "{said}");
    assert!(!missing.exists());
}

#[test]
fn duration_and_concurrency_have_limits() {
    let directory = tempfile::tempdir().expect("a directory");
    for wrong in [["--seconds", "0"], ["--seconds", "61"], ["--at-once", "1"], ["--at-once", "1025"]] {
        let [option, value] = wrong;
        let said = complaint(&cli::run(directory.path(), &["bench", option, value]));
        assert!(said.contains(option), "{said}");
    }
}
