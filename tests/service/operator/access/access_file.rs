//! `operator.json`: where the operator interface of a running service listens, and its token.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use amoiq_testkit::{AppLauncher, OperatorClient, TestApp, cli};

#[test]
fn only_its_owner_reads_the_file_and_it_disappears_with_the_service() {
    let mut app = TestApp::start();
    let file = app.data().join("operator.json");
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(cli::run(app.data(), &["health"]).stdout, b"ready\n");
    assert_eq!(cli::run(app.data(), &["health", "--alive"]).stdout, b"alive\n");
    assert_eq!(cli::json_of(app.data(), &["health"])["status"], "ready");
    assert_eq!(cli::json_of(app.data(), &["health", "--alive"])["status"], "ok");
    app.terminate();
    assert!(!file.exists());
    assert!(cli::failure_of(app.data(), &["health"]).contains("no service runs on"));
}

#[test]
fn health_waits_for_a_service_to_start_for_as_long_as_it_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let asked = |seconds| {
        let mut asking = cli::command(directory.path());
        asking.args(["health", "--wait", seconds]);
        asking.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
    };
    let in_vain = asked("1").wait_with_output().expect("it ends");
    assert!(!in_vain.status.success());
    assert!(String::from_utf8_lossy(&in_vain.stderr).contains("no service runs on"), "{in_vain:?}");
    let waiting = asked("60");
    let _app = AppLauncher::new().data(directory.path()).start();
    let answered = waiting.wait_with_output().expect("it ends");
    assert_eq!((answered.status.success(), &*answered.stdout), (true, &b"ready\n"[..]), "{answered:?}");
}

#[test]
fn every_start_has_a_token_of_its_own() {
    let first = TestApp::start();
    let second = TestApp::start();
    assert_ne!(OperatorClient::of(&first).token, OperatorClient::of(&second).token);
    assert_eq!(OperatorClient::of(&first).token.len(), 64);
}

#[test]
fn the_command_line_recognises_a_file_that_a_crash_left() {
    let mut app = TestApp::start();
    app.kill();
    assert!(app.data().join("operator.json").exists());
    assert!(cli::failure_of(app.data(), &["tenant", "list"]).contains("does not answer"));
}

#[test]
fn a_taken_operator_port_is_reported_in_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for variable in ["AMOIQ__OPERATOR__BIND", "AMOIQ__SERVER__BIND"] {
        let directory = tempfile::tempdir().expect("a directory");
        let output = AppLauncher::new().data(directory.path()).environment(variable, &address).output();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.starts_with("amoiq: ") && said.contains(&address) && said.lines().count() == 1,
            "{said}"
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{variable}");
    }
}
