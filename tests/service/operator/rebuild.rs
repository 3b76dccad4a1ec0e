//! Rebuilds of read models: automatic ones when `views.db` is gone, and those that an operator starts, beside a running
//! service and on the files of a stopped one.

use std::fs;

use amoiq_testkit::{AppLauncher, OperatorClient, SECRET_KEY, TestApp, cli, eventually};
use reqwest::Method;
use serde_json::{Value, json};

/// A verified user's history, which the inbox is needed for.
fn history(app: &TestApp) -> Option<Value> {
    let answer = app.get(SECRET_KEY, "/api/chat/messages?userId=ann");
    (answer.status == 200).then_some(answer.body)
}

/// Ann's messages in three sessions.
fn with_messages(app: &TestApp) -> Value {
    let token = app.mint_token(SECRET_KEY, &json!({"userId": "ann", "role": "visitor"}));
    for number in 0..9 {
        app.say(&token, &format!("session-{}", number % 3), &format!("message {number}"));
    }
    let before = history(app).expect("a history");
    assert_eq!(before["messages"].as_array().map(Vec::len), Some(9), "{before}");
    before
}

#[test]
fn a_service_whose_views_are_gone_gives_the_same_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut app = AppLauncher::new().data(directory.path()).start();
    let before = with_messages(&app);
    app.terminate();
    for file in ["views.db", "views.db-wal", "views.db-shm"] {
        // A clean stop leaves one file.
        drop(fs::remove_file(directory.path().join(file)));
    }
    assert!(!directory.path().join("views.db").exists());
    let app = AppLauncher::new().data(directory.path()).start();
    eventually("the inbox is there", || history(&app).is_some());
    assert_eq!(history(&app).expect("a history"), before);
}

#[test]
fn a_running_service_rebuilds_the_inbox_and_serves_meanwhile() {
    let app = TestApp::start();
    let before = with_messages(&app);
    let rebuilt = cli::json_of(app.data(), &["rebuild", "inbox"]);
    assert_eq!((&rebuilt["state"], &rebuilt["skipped"]), (&json!("done"), &json!(0)), "{rebuilt}");
    assert_eq!(history(&app).expect("a history"), before);
    let all = cli::run(app.data(), &["rebuild", "--all"]);
    assert!(all.status.success());
    assert!(String::from_utf8_lossy(&all.stderr).contains("online lives in memory"));
    assert!(cli::failure_of(app.data(), &["rebuild", "online"]).contains("online lives in memory"));
    assert!(cli::failure_of(app.data(), &["rebuild", "other"]).contains("`other` is not a projection"));
    let twice = cli::json_of(app.data(), &["rebuild", "inbox", "inbox"]);
    assert_eq!(twice["state"], "done", "{twice}");
    let door = OperatorClient::of(&app);
    let twice = json!({"projections": ["inbox", "inbox"]});
    let twice = door.send(Method::POST, "/operator/rebuild", Some(&twice));
    assert_eq!(twice.status, 202, "{twice:?}");
    eventually("it is done", || cli::json_of(app.data(), &["rebuild", "--status"])["state"] == "done");
    let wrong = door.send(Method::POST, "/operator/rebuild", Some(&json!({"projections": ["online"]})));
    assert_eq!(wrong.error(), (400, "VALIDATION_FAILED"));
    let shown = door.send(Method::GET, "/operator/rebuild", None);
    assert_eq!(shown.body["rebuilds"][0]["state"], "done", "{shown:?}");
    let nothing = door.send(Method::DELETE, "/operator/rebuild", None);
    assert_eq!(nothing.body["rebuilds"][0]["state"], "done", "nothing was left to cancel");
}

#[test]
fn the_inbox_of_a_stopped_service_is_rebuilt_from_the_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut app = AppLauncher::new().data(directory.path()).start();
    let before = with_messages(&app);
    app.terminate();
    let rebuilt = cli::json_of(app.data(), &["rebuild", "--all"]);
    assert_eq!(rebuilt["state"], "done", "{rebuilt}");
    assert_eq!(cli::json_of(app.data(), &["dead-letters"]), json!([]));
    let app = AppLauncher::new().data(directory.path()).start();
    eventually("the inbox is there", || history(&app).is_some());
    assert_eq!(history(&app).expect("a history"), before);
}

#[test]
fn a_rebuild_is_watched_and_cancelled_by_another_command() {
    let mut app = TestApp::start();
    let said = |app: &TestApp, words: &[&str]| {
        let output = cli::run(app.data(), words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("a text")
    };
    // A start rebuilds it too.
    eventually("it is there", || cli::json_of(app.data(), &["rebuild", "--status"])["state"] == "done");
    said(&app, &["rebuild", "inbox"]);
    let done = said(&app, &["rebuild", "--status"]);
    assert!(done.starts_with("inbox: rebuilt up to position "), "{done}");
    assert_eq!(cli::json_of(app.data(), &["rebuild", "--status"])["state"], "done");
    // Nothing is left to cancel.
    assert_eq!(said(&app, &["rebuild", "--cancel"]), done);
    assert!(cli::failure_of(app.data(), &["rebuild", "--cancel", "inbox"]).contains("cannot be used with"));
    app.terminate();
    assert!(cli::failure_of(app.data(), &["rebuild", "--status"]).contains("no service runs on"));
}
