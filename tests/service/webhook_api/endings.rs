//! An endpoint that is gone, is deleted, or hangs while the service stops.

use std::time::{Duration, Instant};

use amoiq_testkit::{SECRET_KEY, WIDGET_KEY, eventually, receivers::RecordingReceiver};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Given, SESSION, again, register, send, starting, texts};

#[test]
fn an_endpoint_that_answers_gone_is_disabled_and_receives_the_rest_once_it_is_enabled() {
    let given = Given::new();
    given.receiver.answer(410, "moved away");
    given.say("one");
    eventually("it is disabled", || given.status() == "disabled");
    let shown = given.get("").body;
    assert!(shown["disabledReason"].as_str().is_some_and(|reason| reason.contains("410")), "{shown}");
    given.say("two");
    given.receiver.answer(200, "");
    let before = given.receiver.requests().len();
    let resumed = given.post("/resume", &json!({})).body;
    assert_eq!((&resumed["status"], &resumed["disabledReason"]), (&json!("enabled"), &Value::Null));
    eventually("both are heard", || texts(&given.receiver.requests()[before..]).len() == 2);
}

#[test]
fn an_endpoint_is_never_disabled_when_no_hours_are_set() {
    let app = starting().environment("AMOIQ__WEBHOOKS__DISABLE_AFTER_HOURS", "0").start();
    let receiver = RecordingReceiver::start();
    receiver.answer(500, "");
    let (id, secret) = register(&app, SECRET_KEY, &json!({"url": receiver.url()}));
    let given = Given { app, receiver, id, secret };
    let refused = given.say("hello");
    given.delivery(&refused, "failed");
    assert_eq!(given.status(), "enabled");
}

#[test]
fn a_deleted_endpoint_is_gone_for_good() {
    let given = Given::new();
    given.receiver.answer(500, "");
    let id = given.say("never delivered");
    given.delivery(&id, "pending");
    let witness = RecordingReceiver::start();
    register(&given.app, SECRET_KEY, &json!({"url": witness.url()}));
    let deleted = send(&given.app, SECRET_KEY, Method::DELETE, &given.path(""), &json!({}));
    assert_eq!((deleted.status, deleted.body), (204, Value::Null));
    for answer in [
        given.get(""),
        given.get("/deliveries"),
        given.get("/replay"),
        given.post("/resume", &json!({})),
        given.post("/test", &json!({})),
        given.post(&format!("/deliveries/{id}/redeliver"), &json!({})),
        send(&given.app, SECRET_KEY, Method::DELETE, &given.path(""), &json!({})),
    ] {
        assert_eq!(answer.error(), (404, "WEBHOOK_NOT_FOUND"), "{answer:?}");
    }
    // The deletion was before this message, also in the log; only a running attempt may still arrive.
    given.app.say(WIDGET_KEY, SESSION, "after it");
    eventually("the other endpoint hears", || texts(&witness.requests()).contains("after it"));
    assert!(!texts(&given.receiver.requests()).contains("after it"));
    let listed = given.app.get(SECRET_KEY, "/api/webhooks").body;
    assert_eq!(listed["webhooks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_hanging_endpoint_does_not_delay_the_stop_and_is_served_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = RecordingReceiver::start();
    receiver.hang();
    let mut app = starting().data(directory.path()).start();
    register(&app, SECRET_KEY, &json!({"url": receiver.url()}));
    app.say(WIDGET_KEY, SESSION, "hello");
    eventually("it is underway", || receiver.requests().len() == 1);
    let since = Instant::now();
    let (status, _) = app.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    receiver.answer(200, "");
    let _again = again(directory.path());
    eventually("it is delivered again", || receiver.requests().len() == 2);
    let requests = receiver.requests();
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(requests[0].body, requests[1].body, "byte for byte");
}

#[test]
fn attempts_that_run_when_the_service_stops_are_recorded_and_not_repeated() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = RecordingReceiver::start();
    let mut app = starting().data(directory.path()).start();
    let (id, _) = register(&app, SECRET_KEY, &json!({"url": receiver.url()}));
    for number in 0..50 {
        app.say(WIDGET_KEY, SESSION, &format!("number {number}"));
    }
    app.terminate();
    let app = again(directory.path());
    app.say(WIDGET_KEY, SESSION, "the last");
    eventually("the last is heard", || texts(&receiver.requests()).contains("the last"));
    let path = format!("/api/webhooks/{id}/deliveries?status=delivered&limit=100");
    eventually("all are noted", || {
        app.get(SECRET_KEY, &path).body["deliveries"].as_array().map(Vec::len) == Some(51)
    });
    assert_eq!(receiver.requests().len(), 51, "each came once");
}
