//! Redelivery and replay: the same messages again, under the same ids.

use amoiq_testkit::{SECRET_KEY, WIDGET_KEY, eventually, receivers::ReceivedRequest};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Given, SESSION, send, texts};

#[test]
fn a_redelivery_is_the_same_request_again() {
    let given = Given::new();
    let id = given.say("hello");
    given.delivery(&id, "delivered");
    let asked = given.post(&format!("/deliveries/{id}/redeliver"), &json!({}));
    assert_eq!((asked.status, &asked.body["messageId"]), (202, &json!(id)));
    let requests = given.heard(2);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(requests[0].body, requests[1].body);
    eventually("both attempts are listed", || {
        given.delivery(&id, "delivered")["attempts"].as_array().map(Vec::len) == Some(2)
    });
}

#[test]
fn only_a_message_that_was_or_will_be_delivered_can_be_redelivered() {
    let given = Given::new();
    let stranger = "msg-01a20400-0000-7000-8000-000000000000";
    let answer = given.post(&format!("/deliveries/{stranger}/redeliver"), &json!({}));
    assert_eq!(answer.error(), (404, "NOT_FOUND"), "{answer:?}");
    let answer = given.post("/deliveries/rubbish/redeliver", &json!({}));
    assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{answer:?}");
    assert!(answer.body["details"]["fields"]["messageId"].is_string());
}

#[test]
fn a_replay_from_the_start_delivers_everything_again_in_order() {
    let given = Given::new();
    let ids: Vec<_> = ["one", "two", "three"].map(|text| given.say(text)).to_vec();
    let first = given.heard(3);
    given.delivery(&ids[2], "delivered");
    let asked = given.post("/replay", &json!({"from": 0}));
    assert_eq!((asked.status, &asked.body["from"]), (202, &json!(0)), "{asked:?}");
    let all = given.heard(6);
    let named = |request: &ReceivedRequest| request.header("webhook-id").to_owned();
    let again: Vec<_> = all[3..].iter().map(named).collect();
    assert_eq!(again, first.iter().map(named).collect::<Vec<_>>());
    eventually("it is done", || given.get("/replay").body["status"] == "done");
    let done = given.get("/replay").body;
    assert_eq!((&done["begun"], &done["position"]), (&json!(3), &done["to"]));
}

#[test]
fn a_replay_takes_times_and_positions_as_numbers_and_as_texts() {
    let given = Given::new();
    let ids = ["one", "two"].map(|text| given.say(text));
    given.heard(2);
    ids.iter().for_each(|id| drop(given.delivery(id, "delivered")));
    for from in [json!("0"), json!("1970-01-01T00:00:00Z"), json!("2001-02-03T04:05:06.789+01:00")] {
        let before = given.receiver.requests().len();
        assert_eq!(given.post("/replay", &json!({"from": from})).status, 202);
        eventually("both come again", || given.receiver.requests().len() == before + 2);
        eventually("it is done", || given.get("/replay").body["status"] == "done");
    }
    let before = given.receiver.requests().len();
    // No message is from the future, or from before the year 2000.
    for body in [
        json!({"from": "2999-01-01T00:00:00Z"}),
        json!({"from": 0, "to": "2000-01-01T00:00:00Z"}),
        json!({"from": 0, "to": "0"}),
    ] {
        let asked = given.post("/replay", &body);
        assert_eq!((asked.status, &asked.body["begun"]), (202, &json!(0)), "{asked:?}");
        eventually("it is done", || given.get("/replay").body["status"] == "done");
    }
    let last = given.say("a new one");
    given.delivery(&last, "delivered");
    assert_eq!(given.receiver.requests().len(), before + 1);
}

#[test]
fn one_replay_runs_at_a_time_and_can_be_cancelled() {
    let given = Given::new();
    assert_eq!(given.get("/replay").error(), (404, "NOT_FOUND"));
    given.say("one");
    given.heard(1);
    given.post("/pause", &json!({}));
    let running = given.post("/replay", &json!({"from": 0}));
    assert_eq!((running.status, &running.body["status"]), (202, &json!("running")), "{running:?}");
    assert_eq!(given.post("/replay", &json!({"from": 0})).error(), (409, "REPLAY_RUNNING"));
    for _ in 0..2 {
        assert_eq!(
            send(&given.app, SECRET_KEY, Method::DELETE, &given.path("/replay"), &json!({})).status,
            204
        );
        assert_eq!(given.get("/replay").body["status"], "cancelled");
    }
    given.post("/resume", &json!({}));
    given.app.say(WIDGET_KEY, SESSION, "two");
    eventually("the new one comes", || texts(&given.receiver.requests()).contains("two"));
    assert_eq!(given.heard(2).len(), 2, "and nothing of the replay");
}

#[test]
fn an_invalid_range_of_a_replay_is_explained() {
    let given = Given::new();
    let cases: [(Value, &str); 7] = [
        (json!({}), "from"),
        (json!({"from": "yesterday"}), "from"),
        (json!({"from": -1}), "from"),
        (json!({"from": 1.5}), "from"),
        (json!({"from": 0, "to": []}), "to"),
        (json!({"from": 2, "to": 1}), "to"),
        (json!({"from": 1_000_001, "to": 1_000_000}), "to"),
    ];
    for (body, field) in cases {
        let answer = given.post("/replay", &body);
        assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{body}: {answer:?}");
        assert!(answer.body["details"]["fields"][field].is_string(), "{body}: {answer:?}");
    }
    assert_eq!(given.get("/replay").status, 404, "none was started");
}
