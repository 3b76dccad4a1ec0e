//! A message that is sent again is the same message.

use std::{collections::HashSet, thread};

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, SECRET, Start, TestApp, WIDGET};

const SESSION: &str = "session-0123456789";

/// Sends a message under an id of the client.
fn send(app: &TestApp, session: &str, field: &str, id: &str) -> Answer {
    app.post(WIDGET, "/webchat/message", &json!({"text": "x", "sessionId": session, field: id}))
}

fn keyed(app: &TestApp, key: &str, body: &Value) -> Answer {
    let request = app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET);
    Answer::of(request.header("Idempotency-Key", key).json(body))
}

#[test]
fn the_same_client_id_sent_1_000_times_at_once_is_one_message() {
    let app = TestApp::start();
    let (app, threads) = (&app, 40);
    let answers: Vec<_> = thread::scope(|scope| {
        let senders: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    (0..25).map(|_| send(app, SESSION, "clientMessageId", "c-1")).collect::<Vec<_>>()
                })
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().expect("it sends")).collect()
    });
    assert_eq!(answers.len(), 1_000);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let ids: HashSet<_> = answers.iter().map(|answer| answer.body["messageId"].to_string()).collect();
    assert_eq!(ids.len(), 1, "every answer names the first");
    let firsts = answers.iter().filter(|answer| answer.body.get("duplicate").is_none()).count();
    assert_eq!(firsts, 1);
    assert!(answers.iter().filter(|answer| answer.body["duplicate"] == true).count() == 999);
    assert_eq!(app.messages(WIDGET, &format!("sessionId={SESSION}")).len(), 1);
}

#[test]
fn messages_sent_at_once_have_every_place_in_the_session_once() {
    let app = TestApp::start();
    let shared = &app;
    thread::scope(|scope| {
        for writer in 0..20 {
            scope.spawn(move || {
                (0..20).for_each(|number| drop(shared.say(WIDGET, SESSION, &format!("{writer}-{number}"))));
            });
        }
    });
    let read = app.messages(WIDGET, &format!("sessionId={SESSION}&limit=500"));
    let seqs: Vec<_> = read.iter().filter_map(|message| message["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=400).collect::<Vec<_>>());
    for writer in 0..20 {
        let prefix = format!("{writer}-");
        let texts = read
            .iter()
            .filter_map(|message| message["text"].as_str())
            .filter(|text| text.starts_with(&prefix));
        let own: Vec<_> = texts.map(str::to_owned).collect();
        assert_eq!(own, (0..20).map(|number| format!("{writer}-{number}")).collect::<Vec<_>>(), "in order");
    }
}

#[test]
fn a_client_id_is_taken_from_any_of_its_three_places() {
    let app = TestApp::start();
    let first = send(&app, SESSION, "clientMessageId", "c-1");
    assert_eq!(first.body.get("duplicate"), None);
    let body = json!({"text": "x", "sessionId": SESSION});
    for repeat in [
        send(&app, SESSION, "clientMessageId", "c-1"),
        send(&app, SESSION, "temp_id", "c-1"),
        keyed(&app, "c-1", &body),
    ] {
        assert_eq!(repeat.status, 200);
        assert_eq!(repeat.body["messageId"], first.body["messageId"]);
        assert_eq!(repeat.body["sessionId"], SESSION);
        assert_eq!(repeat.body["duplicate"], true);
    }
    let mut named = body;
    named["clientMessageId"] = json!("c-2");
    assert_eq!(keyed(&app, "c-1", &named).body.get("duplicate"), None, "the body counts before the header");
    let read = app.messages(WIDGET, &format!("sessionId={SESSION}"));
    let ids: Vec<_> = read.iter().map(|message| (&message["clientMessageId"], &message["temp_id"])).collect();
    assert_eq!(ids, [(&json!("c-1"), &json!("c-1")), (&json!("c-2"), &json!("c-2"))], "it is echoed");
}

#[test]
fn a_client_id_is_unique_in_its_session_only() {
    let app = TestApp::start();
    let one = send(&app, SESSION, "clientMessageId", "c-1");
    let two = send(&app, "session-of-another-1", "clientMessageId", "c-1");
    assert_eq!(two.body.get("duplicate"), None);
    assert_ne!(one.body["messageId"], two.body["messageId"]);
}

#[test]
fn a_message_without_a_client_id_is_new_every_time() {
    let app = TestApp::start();
    assert_ne!(app.say(WIDGET, SESSION, "x"), app.say(WIDGET, SESSION, "x"));
    let read = app.messages(WIDGET, &format!("sessionId={SESSION}"));
    assert_eq!(read.len(), 2);
    assert!(
        read.iter()
            .all(|message| message.get("clientMessageId").is_none() && message.get("temp_id").is_none())
    );
}

#[test]
fn a_repeat_is_recognised_after_a_crash() {
    let mut app = TestApp::start();
    let first = send(&app, SESSION, "clientMessageId", "c-1");
    app.kill();
    let again = Start::new().data(app.data()).app();
    let repeat = send(&again, SESSION, "temp_id", "c-1");
    assert_eq!(
        (&repeat.body["messageId"], &repeat.body["duplicate"]),
        (&first.body["messageId"], &json!(true))
    );
}

#[test]
fn a_repeat_does_not_reopen_a_closed_conversation_nor_change_its_text() {
    let app = TestApp::start();
    send(&app, SESSION, "clientMessageId", "c-1");
    assert_eq!(app.post(SECRET, &format!("/api/chat/sessions/{SESSION}/close"), &json!({})).status, 200);
    let other = json!({"text": "other", "sessionId": SESSION, "clientMessageId": "c-1"});
    assert_eq!(app.post(WIDGET, "/webchat/message", &other).body["duplicate"], true);
    let read = app.messages(WIDGET, &format!("sessionId={SESSION}"));
    assert_eq!(read.iter().map(|message| &message["text"]).collect::<Vec<_>>(), ["x"]);
}
