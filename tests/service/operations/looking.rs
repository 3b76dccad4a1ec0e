//! `amoiq state` and `amoiq events` show what happened, and no more than was requested.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use amoiq_testkit::{TestApp, WIDGET_KEY, cli, eventually};
use serde_json::Value;

use crate::operations::stores::written_stores::{say_as_ann, stopped, texts_of};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_session_is_shown_as_it_was_at_any_position_and_time() {
    let data = stopped();
    let created =
        ["events", "--json", "--tenant", "demo", "--session", "session-long", "--type", "message.created"];
    let events: Vec<Value> = cli::stdout_of(data.path(), &created).lines().map(json).collect();
    assert_eq!(events.len(), 70);
    let state = ["state", "--tenant", "demo", "--session", "session-long", "--json"];
    for count in [1, 2, 64, 70] {
        let at = events[count - 1]["position"].to_string();
        let shown = json(&cli::stdout_of(data.path(), &[&state[..], &["--at", &at]].concat()));
        let texts: Vec<_> = shown["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|message| message["text"].clone())
            .collect();
        assert_eq!(texts, texts_of("session-long")[..count]);
        assert_eq!((&shown["userId"], &shown["conversation"]), (&"ann".into(), &"open".into()));
    }
    let shown = json(&cli::stdout_of(
        data.path(),
        &[&state[..], &["--at", events[0]["time"].as_str().expect("a time")]].concat(),
    ));
    assert_eq!(shown["messages"][0]["text"], events[0]["data"]["text"]);
    let output =
        cli::run(data.path(), &["state", "--tenant", "demo", "--session", "session-long", "--at", "2"]);
    assert_eq!(output.status.code(), Some(1), "there was none yet: {output:?}");
}

#[test]
fn a_tenant_is_shown_without_its_secrets() {
    let data = stopped();
    let shown = cli::stdout_of(data.path(), &["state", "--tenant", "demo", "--json"]);
    let state = json(&shown);
    assert_eq!(state["settings"]["name"], "Demo");
    assert_eq!(state["keys"].as_array().map(Vec::len), Some(3));
    assert_eq!(state["online"], Value::Array(Vec::new()));
    assert!(!shown.contains("hash") && !shown.contains("whsec_"), "{shown}");
}

#[test]
fn texts_are_printed_only_on_request() {
    let data = stopped();
    for command in [&["events"][..], &["state", "--tenant", "demo", "--session", "session-two"]] {
        assert!(!cli::stdout_of(data.path(), command).contains("says"));
        let asked = [command, &["--texts"]].concat();
        assert!(cli::stdout_of(data.path(), &asked).contains("session-two says 3"));
    }
}

#[test]
fn events_are_filtered_and_limited() {
    let data = stopped();
    let count =
        |filter: &[&str]| cli::stdout_of(data.path(), &[&["events"], filter].concat()).lines().count();
    assert_eq!(count(&["--type", "message.created"]), 76);
    assert_eq!(count(&["--session", "session-two", "--type", "message.created"]), 5);
    assert_eq!(count(&["--tenant", "demo", "--session", "session-two", "--type", "message.created"]), 5);
    assert_eq!(count(&["--tenant", "nobody"]), 0);
    assert_eq!(count(&["--limit", "7"]), 7);
    assert_eq!(count(&["--from", "2099-01-01T00:00:00Z"]), 0);
    let first = cli::stdout_of(data.path(), &["events", "--json", "--from", "20", "--limit", "1"]);
    assert_eq!(json(&first)["position"], 20);
}

#[test]
fn events_are_followed_beside_a_running_service() {
    let data = stopped();
    let service = TestApp::start_on(data.path());
    let head = head(data.path());
    let mut following = cli::command(data.path())
        .args([
            "events",
            "-f",
            "--json",
            // A place from which it finds what is sent after its start, however long the start takes.
            "--from",
            &(head + 1).to_string(),
            "--session",
            "session-followed",
            "--type",
            "message.created",
            "--limit",
            "3",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    for number in 0..3 {
        assert_eq!(say_as_ann(&service, "session-followed", &format!("line {number}")).status, 200);
    }
    let lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    let texts: Vec<_> = lines.map(|line| json(&line.expect("a line"))["data"]["text"].clone()).collect();
    assert_eq!(texts, ["line 0", "line 1", "line 2"]);
    assert!(following.wait().expect("it ends").success());
}

/// The first event that `amoiq events -f` prints while Ann writes in a session.
fn first_followed(service: &TestApp, data: &Path, session: &str, args: &[&str]) -> Value {
    let mut following = cli::command(data)
        .args(["events", "-f", "--json", "--limit", "1"])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It takes a while until it follows: it does not print what is sent before that.
    let mut said = 0;
    eventually("it prints a line", || {
        said += 1;
        assert_eq!(say_as_ann(service, session, &format!("line {said}")).status, 200);
        following.try_wait().expect("a state").is_some()
    });
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    json(&lines.next().expect("a line").expect("a text"))
}

#[test]
fn events_are_followed_from_a_position_that_the_log_has_yet_to_reach() {
    let data = stopped();
    let service = TestApp::start_on(data.path());
    let from = head(data.path()) + 20;
    let first = first_followed(&service, data.path(), "session-later", &["--from", &from.to_string()]);
    assert!(first["position"].as_u64().is_some_and(|position| position >= from), "{first}");
}

#[test]
fn following_without_a_position_starts_at_the_end() {
    let data = stopped();
    let service = TestApp::start_on(data.path());
    let first = first_followed(&service, data.path(), "session-now", &["--type", "message.created"]);
    assert_eq!(first["stream"], "session:demo:session-now", "nothing of what was there before: {first}");
}

#[test]
fn an_unknown_event_type_is_an_error() {
    let data = stopped();
    let output = cli::run(data.path(), &["events", "--type", "mesage.created"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("message.created") && said.contains("webhook.secret_rotated"), "{said}");
}

/// Where the last event of a store is.
fn head(data: &Path) -> u64 {
    let all = cli::stdout_of(data, &["events", "--json"]);
    json(all.lines().next_back().expect("an event"))["position"].as_u64().expect("a position")
}

#[test]
fn nothing_that_a_visitor_gives_steers_the_terminal() {
    let directory = tempfile::tempdir().expect("a directory");
    let service = TestApp::start_on(directory.path());
    let message = json(
        r#"{"text": "a \u009b31m b \u202e c", "sessionId": "session-of-a-joker",
            "userInfo": {"\u001b]0;owned\u0007\nmessages[9].text": "x"}}"#,
    );
    service.post(WIDGET_KEY, "/webchat/message", &message);
    drop(service);
    let looking = ["state", "--tenant", "demo", "--session", "session-of-a-joker", "--texts"];
    let shown = cli::stdout_of(directory.path(), &looking);
    let steers = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!shown.contains(steers), "{shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("messages[9]")), "{shown}");
}
