//! A log in PostgreSQL whose standby is promoted without messages that were acknowledged.

use std::collections::BTreeSet;

use amoiq_testkit::{
    AppLauncher, PostgresServer, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, eventually,
    receivers::RecordingReceiver,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::history;

const SESSION: &str = "session-of-failover";

/// The texts of a session.
fn texts(app: &TestApp) -> Vec<Value> {
    history(app, SESSION).into_iter().map(|message| message["text"].clone()).collect()
}

/// The texts that an endpoint was sent.
fn delivered(receiver: &RecordingReceiver) -> Vec<String> {
    let texts = ["one", "two", "lost", "three"];
    let bodies =
        receiver.requests().into_iter().map(|request| String::from_utf8_lossy(&request.body).into_owned());
    let text = |body: String| texts.into_iter().find(|text| body.contains(&format!("\"{text}\"")));
    bodies.filter_map(text).map(str::to_owned).collect()
}

fn connect(app: &TestApp, pid: &Value) -> SocketClient {
    SocketClient::connect_with(
        app,
        WIDGET_KEY,
        &json!({ "sessionId": SESSION, "recovery": true, "pid": pid }),
    )
}

/// A service with one endpoint on a primary and its standby; the data directory is kept.
fn launcher(primary: &PostgresServer, standby: &PostgresServer, directory: &TempDir) -> AppLauncher {
    let address =
        format!("postgres://amoiq@127.0.0.1:{},127.0.0.1:{}/postgres", primary.port(), standby.port());
    AppLauncher::new()
        .data(directory.path())
        .config("[webhooks]\nallowed_networks = [\"127.0.0.0/8\"]\n")
        .settings(&[
            ("AMOIQ__STORE__BACKEND", "postgres"),
            ("AMOIQ__STORE__URL", &address),
            ("AMOIQ__STORE__SCHEMA", "amoiq"),
        ])
        .unchecked()
}

#[test]
fn nothing_is_shown_of_acknowledged_messages_that_a_failover_lost() {
    let mut primary = PostgresServer::start();
    let standby = primary.start_standby("standby");
    let directory = tempfile::tempdir().expect("a directory");
    let launcher = launcher(&primary, &standby, &directory);
    let receiver = RecordingReceiver::start();

    let mut app = launcher.clone().start();
    app.post(SECRET_KEY, "/api/webhooks", &json!({ "url": receiver.url() })).expect_status(201);
    let mut socket = connect(&app, &Value::Null);
    for text in ["one", "two"] {
        app.say(WIDGET_KEY, SESSION, text);
    }
    eventually("the endpoint has both", || delivered(&receiver) == ["one", "two"]);
    standby.catch_up(&primary);
    standby.cut_off();
    let lost = app.say(WIDGET_KEY, SESSION, "lost");
    for _ in 0..3 {
        socket.next("meta_message_created");
    }
    eventually("the endpoint has it", || delivered(&receiver) == ["one", "two", "lost"]);
    let pid = socket.welcome["pid"].clone();
    primary.kill();
    standby.promote();

    eventually("the service ends", || app.exit_status().is_some());
    assert!(!app.exit_status().expect("it ended").success(), "a supervisor starts it again");
    assert!(app.printed(&["goes on in another epoch"]));
    let app = launcher.start();
    assert_eq!(texts(&app), ["one", "two"]);
    let mut socket = connect(&app, &pid);
    assert_ne!(socket.welcome["pid"], pid, "nobody recovers what is not there");
    let three = app.say(WIDGET_KEY, SESSION, "three");
    assert_ne!(three, lost);
    assert_eq!(socket.next("meta_message_created")["message"]["seq"], 3);
    assert_eq!(texts(&app), ["one", "two", "three"]);
    eventually("the endpoint gets it in the place of the lost one", || {
        delivered(&receiver).last().is_some_and(|last| last == "three")
    });
    // What the database had not recorded as delivered may come again, under the same id.
    let ids: BTreeSet<_> =
        receiver.requests().iter().map(|request| request.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 4, "{:?}", delivered(&receiver));
    app.stop();
}

#[test]
fn a_primary_that_was_replaced_gets_no_lease_and_no_delivery() {
    let mut primary = PostgresServer::start();
    let standby = primary.start_standby("standby");
    let directory = tempfile::tempdir().expect("a directory");
    let launcher = launcher(&primary, &standby, &directory);
    let receiver = RecordingReceiver::start();
    let app = launcher.clone().start();
    app.post(SECRET_KEY, "/api/webhooks", &json!({ "url": receiver.url() })).expect_status(201);
    app.say(WIDGET_KEY, SESSION, "one");
    let recorded = "SELECT count(*) FROM amoiq.deliveries";
    eventually("the standby has the delivery", || standby.ask(recorded) == "1");
    primary.kill();
    standby.promote();
    app.say(WIDGET_KEY, SESSION, "two");
    eventually("the new primary has it", || standby.ask(recorded) == "2");
    app.stop();

    // It comes back as it was, and is the first in the address of a service that starts.
    primary.resume();
    let on_it = [
        "SELECT number, until FROM amoiq.nodes",
        "SELECT number FROM amoiq.cluster",
        "SELECT count(*) FROM amoiq.signal_nodes",
        recorded,
    ];
    let before = on_it.map(|question| primary.ask(question));
    let app = launcher.start();
    app.say(WIDGET_KEY, SESSION, "three");
    eventually("the new primary has all", || standby.ask(recorded) == "3");
    assert_eq!(on_it.map(|question| primary.ask(question)), before);
    app.stop();
}
