//! The operator's side of a running service: `operator.json`, requests with its token, and the command
//! line.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use reqwest::{Method, blocking::RequestBuilder};
use serde_json::Value;

use crate::app::{Answer, Start, TestApp, client};

/// Where the operator's interface is, and what opens it.
pub struct Door {
    pub address: String,
    pub token: String,
}

impl Door {
    /// As the running service says.
    pub fn of(app: &TestApp) -> Self {
        let text = fs::read(app.data().join("operator.json")).expect("the file is there");
        let said: Value = serde_json::from_slice(&text).expect("JSON");
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
        Self { address: text("operator"), token: text("token") }
    }

    /// A request with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.token)
    }

    /// A request without it.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        client().request(method, format!("{}{path}", self.address))
    }

    /// Asks with the token.
    pub fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        Answer::of(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }
}

/// Runs the command line on the app's data directory.
pub fn amoiq(app: &TestApp, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_amoiq"))
        .args(words)
        .env("AMOIQ__STORE__PATH", app.data())
        .env("USER", "ann")
        .env_remove("SUDO_USER")
        .output()
        .expect("the program runs")
}

/// The same, with `--json`, for a command that succeeds.
pub fn json(app: &TestApp, words: &[&str]) -> Value {
    let mut all = words.to_vec();
    all.push("--json");
    let output = amoiq(app, &all);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a command that fails says.
pub fn failure(app: &TestApp, words: &[&str]) -> String {
    let output = amoiq(app, words);
    assert!(!output.status.success(), "{words:?} succeeded");
    String::from_utf8(output.stderr).expect("a text")
}

#[test]
fn the_file_is_its_owners_alone_and_goes_with_the_service() {
    let mut app = TestApp::start();
    let file = app.data().join("operator.json");
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(amoiq(&app, &["health"]).stdout, b"ready\n");
    assert_eq!(amoiq(&app, &["health", "--alive"]).stdout, b"alive\n");
    assert_eq!(json(&app, &["health"])["status"], "ready");
    assert_eq!(json(&app, &["health", "--alive"])["status"], "ok");
    app.terminate();
    assert!(!file.exists());
    assert!(failure(&app, &["health"]).contains("no service runs on"));
}

#[test]
fn health_waits_for_a_service_that_is_about_to_start_for_as_long_as_it_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let asked = |seconds| {
        let mut asking = Command::new(env!("CARGO_BIN_EXE_amoiq"));
        asking.args(["health", "--wait", seconds]).env("AMOIQ__STORE__PATH", directory.path());
        asking.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
    };
    let in_vain = asked("1").wait_with_output().expect("it ends");
    assert!(!in_vain.status.success());
    assert!(String::from_utf8_lossy(&in_vain.stderr).contains("no service runs on"), "{in_vain:?}");
    let waiting = asked("60");
    let _app = Start::new().data(directory.path()).app();
    let answered = waiting.wait_with_output().expect("it ends");
    assert_eq!((answered.status.success(), &*answered.stdout), (true, &b"ready\n"[..]), "{answered:?}");
}

#[test]
fn every_start_has_a_token_of_its_own() {
    let first = TestApp::start();
    let second = TestApp::start();
    assert_ne!(Door::of(&first).token, Door::of(&second).token);
    assert_eq!(Door::of(&first).token.len(), 64);
}

#[test]
fn a_file_that_a_crash_left_behind_says_so_to_the_command_line() {
    let mut app = TestApp::start();
    app.kill();
    assert!(app.data().join("operator.json").exists());
    assert!(failure(&app, &["tenant", "list"]).contains("does not answer"));
}

#[test]
fn an_operators_port_that_is_taken_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for variable in ["AMOIQ__OPERATOR__BIND", "AMOIQ__SERVER__BIND"] {
        let directory = tempfile::tempdir().expect("a directory");
        let output = Start::new().data(directory.path()).environment(variable, &address).output();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.starts_with("amoiq: ") && said.contains(&address) && said.lines().count() == 1,
            "{said}"
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{variable}");
    }
}
