//! `amoiq migrate` and `amoiq events import` with a log in a KurrentDB: everything is there afterwards, and goes on.

use std::path::Path;

use amoiq_testkit::{
    AppLauncher, SECRET_KEY, TestApp, WIDGET_KEY, cli, eventually, receivers::RecordingReceiver,
};
use serde_json::{Value, json};

use super::kurrent_log::KurrentLog;

const SESSIONS: [&str; 2] = ["moved-session-one", "moved-session-two"];

/// A service in files.
fn in_files(data: &Path) -> TestApp {
    let launcher = AppLauncher::new().data(data).environment("AMOIQ__STORE__BACKEND", "sqlite");
    let launcher = launcher.environment("AMOIQ__STORE__URL", "").unchecked();
    launcher.settings(&[("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8")]).start()
}

fn answers(app: &TestApp) -> Vec<Value> {
    let of_session = |session| app.messages(SECRET_KEY, &format!("sessionId={session}"));
    SESSIONS.into_iter().flat_map(of_session).collect()
}

/// What an endpoint took of a session, each message once.
fn texts_of(receiver: &RecordingReceiver, session: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for request in receiver.requests() {
        let data = &request.json()["data"];
        let text = data["text"].as_str().expect("a text").to_owned();
        if data["sessionId"] == session && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// A migration, which has to succeed: what it printed.
#[track_caller]
fn migrate(log: &KurrentLog, from: &str, to: &str) -> Value {
    let moved = log.stdout_of(&["migrate", "--json", "--from", from, "--to", to]);
    serde_json::from_str(&moved).expect("JSON")
}

#[test]
fn a_store_moves_into_the_database_and_back_with_what_waits() {
    let (files, back) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (log, receiver) = (KurrentLog::new(), RecordingReceiver::start());
    let place = |directory: &Path| format!("sqlite:{}", directory.display());
    receiver.answer(500, "");
    let app = in_files(files.path());
    assert_eq!(app.post(SECRET_KEY, "/api/webhooks", &json!({ "url": receiver.url() })).status, 201);
    let mut said = 0;
    let mut say = |app: &TestApp, count: usize| {
        for _ in 0..count {
            app.say(WIDGET_KEY, SESSIONS[said % 2], &format!("message {said}"));
            said += 1;
        }
    };
    say(&app, 40);
    let before = answers(&app);
    app.stop();

    let forth = migrate(&log, &place(files.path()), &log.server.address());
    assert_eq!(forth["jwtSecret"], "copied");
    assert!(forth["endpoints"] == 1 && forth["events"].as_u64() > Some(40), "{forth}");
    assert!(log.stdout_of(&["verify"]).starts_with("no damage found"));
    let again = ["migrate", "--from", &place(files.path()), "--to", &log.server.address()];
    assert!(log.failure_of(&again).contains("nothing is overwritten"));
    receiver.answer(200, "");
    let app = log.start();
    assert_eq!(answers(&app), before);
    say(&app, 10);
    eventually("everything is delivered", || receiver_has(&receiver, &app));
    let before = answers(&app);
    app.stop();

    let returned = migrate(&log, &log.server.address(), &place(back.path()));
    assert_ne!(returned["epoch"], forth["epoch"]);
    let app = in_files(back.path());
    assert_eq!(answers(&app), before);
    say(&app, 2);
    eventually("what is new is delivered", || receiver_has(&receiver, &app));
    app.stop();
    let mut verify = cli::command(back.path());
    verify.env("AMOIQ__STORE__BACKEND", "sqlite").env_remove("AMOIQ__STORE__URL").arg("verify");
    assert!(verify.status().expect("the program runs").success());
}

/// Whether an endpoint has everything of every session, in order.
fn receiver_has(receiver: &RecordingReceiver, app: &TestApp) -> bool {
    let is_whole =
        |session: &str| texts_of(receiver, session) == app.texts(SECRET_KEY, session).expect("texts");
    SESSIONS.into_iter().all(is_whole)
}

#[test]
fn exported_events_fill_an_empty_log() {
    let (files, log) = (tempfile::tempdir().expect("a directory"), KurrentLog::new());
    let app = in_files(files.path());
    for number in 0..5 {
        app.say(WIDGET_KEY, SESSIONS[number % 2], &format!("text {number}"));
    }
    let before = answers(&app);
    app.stop();
    let export = files.path().join("export.jsonl");
    let mut exporting = cli::command(files.path());
    exporting.env("AMOIQ__STORE__BACKEND", "sqlite").env_remove("AMOIQ__STORE__URL");
    assert!(exporting.args(["events", "export"]).arg(&export).status().expect("it runs").success());
    let export = export.to_str().expect("a path");
    log.stdout_of(&["events", "import", export]);
    assert_eq!(answers(&log.start()), before);
    assert!(log.failure_of(&["events", "import", export]).contains("is of another log"));
}
