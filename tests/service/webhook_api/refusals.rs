//! Deliveries that an endpoint refuses, as its owner sees them: set aside, skipped, and the answer to a test.

use std::time::{Duration, Instant};

use amoiq_testkit::{AppLauncher, SECRET_KEY, TestApp, WIDGET_KEY, eventually, receivers::RecordingReceiver};
use serde_json::{Value, json};

use super::{Given, register, starting, texts};

const FIRST: &str = "session-of-a-customer-1";
const SECOND: &str = "session-of-somebody-else-1";

impl Given {
    fn started(start: AppLauncher) -> Self {
        let (app, receiver) = (start.start(), RecordingReceiver::start());
        let (id, secret) = register(&app, SECRET_KEY, &json!({"url": receiver.url()}));
        Self { app, receiver, id, secret }
    }

    /// Sends a message in a session. Returns its id.
    fn say_in(&self, session: &str, text: &str) -> String {
        self.app.say(WIDGET_KEY, session, text)
    }

    fn has_heard(&self, text: &str) -> bool {
        texts(&self.receiver.requests()).contains(text)
    }

    /// A receiver that accepts everything except what it is told to refuse.
    fn is_choosy(&self) {
        self.receiver.refuse("refuse", 422, "no such customer");
    }
}

/// A failed delivery is tried again after an hour.
fn rarely() -> AppLauncher {
    starting().environment("AMOIQ__WEBHOOKS__SCHEDULE_MS", "0,3600000,3600000")
}

#[test]
fn a_refused_message_is_set_aside_and_listed_as_refused() {
    let given = Given::started(rarely().environment("AMOIQ__WEBHOOKS__REFUSED_HOLD_SECONDS", "0"));
    given.is_choosy();
    given.say_in(SECOND, "hello");
    let refused = given.say_in(FIRST, "refuse this");
    given.say_in(FIRST, "next");
    eventually("it is set aside", || {
        given.say_in(SECOND, "hello again");
        given.has_heard("next")
    });
    eventually("nothing waits in order", || given.get("").body["standing"]["pending"] == 0);
    let listed = || given.get("/deliveries?status=refused").body["deliveries"].clone();
    eventually("it is listed", || listed() != json!([]));
    let listed = listed();
    let attempt = &listed[0]["attempts"][0];
    assert_eq!((&listed[0]["messageId"], &attempt["status"]), (&json!(refused), &json!(422)), "{listed}");
    assert_eq!(attempt["answer"], "no such customer");
    let standing = given.get("").body["standing"].clone();
    assert_eq!((&standing["refused"], &standing["pending"]), (&json!(1), &json!(0)), "{standing}");
    assert_eq!(standing["failingSince"], Value::Null, "it takes others");
    let skipped = given.post("/deliveries/skip", &json!({"status": "refused"}));
    assert_eq!((skipped.status, skipped.body), (200, json!({"skipped": 1})));
    given.delivery(&refused, "skipped");
}

#[test]
fn a_conversation_goes_on_once_its_refused_message_is_skipped() {
    let given = Given::started(rarely());
    given.is_choosy();
    let refused = given.say_in(FIRST, "refuse this");
    given.say_in(FIRST, "next");
    given.delivery(&refused, "pending");
    let skip = format!("/deliveries/{refused}/skip");
    let skipped = given.post(&skip, &json!({}));
    assert_eq!((skipped.status, &skipped.body["messageId"]), (200, &json!(refused)), "{skipped:?}");
    eventually("the next comes", || given.has_heard("next"));
    given.delivery(&refused, "skipped");
    assert_eq!(given.post(&skip, &json!({})).status, 200, "skipping it again changes nothing");
    given.receiver.refuse("nothing at all", 422, "");
    assert_eq!(given.post(&format!("/deliveries/{refused}/redeliver"), &json!({})).status, 202);
    given.delivery(&refused, "delivered");
    assert_eq!(given.post(&skip, &json!({})).error(), (409, "DELIVERY_SETTLED"));
    let stranger = "msg-01a20400-0000-7000-8000-000000000000";
    assert_eq!(given.post(&format!("/deliveries/{stranger}/skip"), &json!({})).error(), (404, "NOT_FOUND"));
    let rubbish = given.post("/deliveries/rubbish/skip", &json!({}));
    assert_eq!(rubbish.error(), (400, "VALIDATION_FAILED"));
}

#[test]
fn what_is_being_tried_is_not_skipped() {
    let given = Given::started(rarely());
    given.receiver.answer(500, "");
    let tried = given.say_in(FIRST, "hello");
    given.delivery(&tried, "pending");
    given.receiver.hang();
    assert_eq!(given.post(&format!("/deliveries/{tried}/redeliver"), &json!({})).status, 202);
    eventually("it is tried", || given.receiver.requests().len() == 2);
    assert_eq!(
        given.post(&format!("/deliveries/{tried}/skip"), &json!({})).error(),
        (409, "DELIVERY_IN_FLIGHT")
    );
    let skipped = given.post("/deliveries/skip", &json!({"status": "pending"}));
    assert_eq!(skipped.body, json!({"skipped": 0}));
    given.receiver.release();
}

#[test]
fn many_deliveries_are_skipped_by_session_and_by_time() {
    let given = Given::started(rarely());
    given.receiver.answer(500, "");
    for number in 0..3 {
        given.say_in(FIRST, &format!("first {number}"));
        given.say_in(SECOND, &format!("second {number}"));
    }
    let pending =
        || given.get("/deliveries?status=pending").body["deliveries"].as_array().map_or(0, Vec::len);
    eventually("all are listed", || pending() == 6);
    let skip = |body: Value| given.post("/deliveries/skip", &body);
    for (body, field) in [
        (json!({}), "status"),
        (json!({"status": "delivered"}), "status"),
        (json!({"status": "pending", "before": "yesterday"}), "before"),
        (json!({"status": "pending", "sessionId": ""}), "sessionId"),
    ] {
        let refused = skip(body.clone());
        assert_eq!(refused.error(), (400, "VALIDATION_FAILED"), "{body}");
        assert!(refused.body["details"]["fields"][field].is_string(), "{refused:?}");
    }
    let long_ago = json!({"status": "pending", "before": "2024-01-01T00:00:00Z"});
    assert_eq!(skip(long_ago).body, json!({"skipped": 0}));
    assert_eq!(skip(json!({"status": "refused"})).body, json!({"skipped": 0}));
    assert_eq!(skip(json!({"status": "pending", "before": 1})).body, json!({"skipped": 0}));
    assert_eq!(skip(json!({"status": "pending", "sessionId": FIRST})).body, json!({"skipped": 3}));
    let soon = json!({"status": "pending", "before": "2999-01-01T00:00:00Z"});
    assert_eq!(skip(soon).body, json!({"skipped": 3}));
    assert_eq!(pending(), 0);
}

#[test]
fn a_test_shows_what_the_receiver_answered_to_a_success_too() {
    let given = Given::new();
    given.receiver.answer(200, r#"{"ok":false,"error":"unknown signature"}"#);
    let tested = given.post("/test", &json!({})).body;
    assert_eq!((&tested["success"], &tested["status"]), (&json!(true), &json!(200)), "{tested}");
    assert_eq!(tested["answer"], r#"{"ok":false,"error":"unknown signature"}"#);
    let taken = given.say("hello");
    let listed = given.delivery(&taken, "delivered");
    assert_eq!(listed["attempts"][0]["answer"], Value::Null, "lists keep those of failures");
    given.receiver.answer(200, &"x".repeat(5_000));
    let answer = given.post("/test", &json!({})).body["answer"].clone();
    assert_eq!(answer.as_str().map(str::len), Some(1_024));
}

#[test]
fn an_owner_does_not_learn_the_addresses_of_a_host_name() {
    let app = AppLauncher::new().environment("AMOIQ__WEBHOOKS__SCHEDULE_MS", "0,3600000").start();
    let (id, _) = register(&app, SECRET_KEY, &json!({"url": "http://localhost:9/hook"}));
    let told = "refused address of this name; see webhooks.allowed_networks";
    assert_eq!(app.post(SECRET_KEY, &format!("/api/webhooks/{id}/test"), &json!({})).body["error"], told);
    app.say(WIDGET_KEY, FIRST, "hello");
    let listed = || app.get(SECRET_KEY, &format!("/api/webhooks/{id}/deliveries")).body["deliveries"].clone();
    eventually("it was tried", || listed()[0]["attempts"][0]["error"] == told);
}

/// How long 800 deliveries took at a rate, in seconds: from the first to the last.
fn paced(app: &TestApp, rate: u32) -> f64 {
    let receiver = RecordingReceiver::start();
    let (id, _) = register(app, SECRET_KEY, &json!({"url": receiver.url(), "ratePerSecond": rate}));
    let act = |action: &str| app.post(SECRET_KEY, &format!("/api/webhooks/{id}/{action}"), &json!({}));
    act("pause");
    for number in 0..800 {
        app.say(SECRET_KEY, &format!("session-that-is-paced-{}", number % 100), "hello");
    }
    act("resume");
    eventually("the first comes", || !receiver.requests().is_empty());
    let (begun, already) = (Instant::now(), receiver.requests().len());
    while receiver.requests().len() < 800 {
        std::thread::sleep(Duration::from_millis(1));
        assert!(begun.elapsed() < Duration::from_secs(60), "{} came", receiver.requests().len());
    }
    let took = begun.elapsed().as_secs_f64() * 800.0 / (800 - already) as f64;
    act("pause");
    took
}

#[test]
fn two_hundred_a_second_are_two_hundred_a_second() {
    let app = starting()
        .environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "0")
        .environment("AMOIQ__RATE_LIMIT__SECRET_KEY_PER_MINUTE", "0")
        .start();
    // A machine that pauses lowers the rate and never raises it: one run in four has to reach it, and none may exceed it.
    let is_reached = |rate: &f64| *rate >= 190.0;
    let mut runs = Vec::new();
    while runs.len() < 2 || (runs.len() < 4 && !runs.iter().any(is_reached)) {
        runs.push(800.0 / paced(&app, 200));
    }
    assert!(runs.iter().all(|rate| *rate <= 210.0), "{runs:?}");
    assert!(runs.iter().any(is_reached), "{runs:?}");
}
