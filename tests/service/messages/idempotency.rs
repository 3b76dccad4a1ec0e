//! A message that is sent again is the same message.

use std::{collections::HashSet, thread};

use amoiq_testkit::{ApiResponse, AppLauncher, BOT_KEY, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY};
use reqwest::Method;
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789";

/// Sends a message under an id of the client.
fn send(app: &TestApp, session: &str, field: &str, id: &str) -> ApiResponse {
    app.post(WIDGET_KEY, "/webchat/message", &json!({"text": "x", "sessionId": session, field: id}))
}

fn keyed(app: &TestApp, key: &str, body: &Value) -> ApiResponse {
    let request = app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY);
    ApiResponse::to(request.header("Idempotency-Key", key).json(body))
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
    assert_eq!(app.messages(WIDGET_KEY, &format!("sessionId={SESSION}")).len(), 1);
}

#[test]
fn messages_sent_at_once_have_every_place_in_the_session_once() {
    let app = TestApp::start();
    let shared = &app;
    thread::scope(|scope| {
        for writer in 0..20 {
            scope.spawn(move || {
                (0..20)
                    .for_each(|number| drop(shared.say(WIDGET_KEY, SESSION, &format!("{writer}-{number}"))));
            });
        }
    });
    let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}&limit=500"));
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
    let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"));
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
    assert_ne!(app.say(WIDGET_KEY, SESSION, "x"), app.say(WIDGET_KEY, SESSION, "x"));
    let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"));
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
    let again = AppLauncher::new().data(app.data()).start();
    let repeat = send(&again, SESSION, "temp_id", "c-1");
    assert_eq!(
        (&repeat.body["messageId"], &repeat.body["duplicate"]),
        (&first.body["messageId"], &json!(true))
    );
}

#[test]
fn a_repeat_does_not_reopen_a_closed_conversation() {
    let app = TestApp::start();
    send(&app, SESSION, "clientMessageId", "c-1");
    assert_eq!(app.post(SECRET_KEY, &format!("/api/chat/sessions/{SESSION}/close"), &json!({})).status, 200);
    assert_eq!(send(&app, SESSION, "clientMessageId", "c-1").body["duplicate"], true);
    assert_eq!(app.messages(WIDGET_KEY, &format!("sessionId={SESSION}")).len(), 1);
}

/// Sends a text under the client id `c-1`, over HTTP.
fn say(app: &TestApp, credential: &str, text: &str, more: &Value) -> ApiResponse {
    let mut body = json!({ "text": text, "sessionId": SESSION, "clientMessageId": "c-1" });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    app.post(credential, "/webchat/message", &body)
}

fn texts(app: &TestApp) -> Vec<Value> {
    app.messages(SECRET_KEY, &format!("sessionId={SESSION}"))
        .into_iter()
        .map(|mut it| it["text"].take())
        .collect()
}

#[test]
fn a_client_id_with_another_text_is_a_mismatch_and_never_a_success() {
    let app = TestApp::start();
    let none = json!({});
    assert_eq!(say(&app, WIDGET_KEY, "one", &none).status, 200);
    for text in ["two", "one ", "One"] {
        let answer = say(&app, WIDGET_KEY, text, &none);
        assert_eq!(answer.error(), (422, "IDEMPOTENCY_MISMATCH"), "{text:?}");
        assert!(answer.body["details"].is_object() && answer.body["messageId"].is_null(), "{answer:?}");
    }
    let mut socket = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    let ack = socket.call("message", &json!({ "text": "two", "temp_id": "c-1" }));
    assert_eq!((&ack["code"], &ack["success"]), (&json!("IDEMPOTENCY_MISMATCH"), &Value::Null));
    socket.emit("message", &json!({ "text": "three", "temp_id": "c-1" }));
    assert_eq!(socket.next("error")["code"], "IDEMPOTENCY_MISMATCH");
    let repeat = socket.call("message", &json!({ "text": "one", "temp_id": "c-1" }));
    assert_eq!((&repeat["success"], &repeat["duplicate"]), (&json!(true), &json!(true)));
    assert_eq!(texts(&app), ["one"]);
}

#[test]
fn every_author_of_a_session_has_client_ids_of_their_own() {
    let app = TestApp::start();
    let agent = |user: &str| app.mint_token(SECRET_KEY, &json!({ "userId": user, "role": "agent" }));
    let (ann, bob, none) = (agent("ann"), agent("bob"), json!({}));
    let carl = json!({ "senderId": "carl" });
    let authors = [
        (WIDGET_KEY, &none),
        (&*ann, &none),
        (&*bob, &none),
        (SECRET_KEY, &none),
        (SECRET_KEY, &carl),
        (BOT_KEY, &none),
    ];
    let said: Vec<_> = authors
        .iter()
        .zip(0..)
        .map(|((key, more), number)| {
            let answer = say(&app, key, &format!("text {number}"), more);
            assert_eq!((answer.status, answer.body.get("duplicate")), (200, None), "{answer:?}");
            answer.body["messageId"].clone()
        })
        .collect();
    for (((key, more), number), first) in authors.iter().zip(0..).zip(&said) {
        let repeat = say(&app, key, &format!("text {number}"), more);
        assert_eq!((&repeat.body["messageId"], &repeat.body["duplicate"]), (first, &json!(true)));
        assert_eq!(say(&app, key, "other", more).error(), (422, "IDEMPOTENCY_MISMATCH"));
    }
    // Another token of the same agent, and another visitor's credential, are the same author.
    let admin = app.mint_token(SECRET_KEY, &json!({ "userId": "ann", "role": "admin" }));
    assert_eq!(say(&app, &admin, "text 1", &none).body["messageId"], said[1]);
    assert_eq!(
        say(&app, &app.anonymous_token(WIDGET_KEY, SESSION), "text 0", &none).body["messageId"],
        said[0]
    );
    assert_eq!(texts(&app).len(), said.len());
}

#[test]
fn a_visitor_sees_only_the_client_ids_of_visitors_messages() {
    let app = TestApp::start();
    let none = json!({});
    let mut visitor = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    let mut staff = SocketClient::connect(&app, SECRET_KEY);
    let mut joined = SocketClient::connect(&app, BOT_KEY);
    say(&app, WIDGET_KEY, "mine", &none);
    joined.call("join:session", &json!({ "sessionId": SESSION }));
    say(&app, SECRET_KEY, "an agent's", &none);
    say(&app, BOT_KEY, "a bot's", &none);
    let told = |message: &Value| (message.get("clientMessageId").is_some(), message.get("temp_id").is_some());
    for (is_mine, text) in [(true, "mine"), (false, "an agent's"), (false, "a bot's")] {
        let heard = visitor.next("meta_message_created");
        assert_eq!((&heard["message"]["text"], told(&heard["message"])), (&json!(text), (is_mine, is_mine)));
        assert_eq!(told(&staff.next("meta_message_created")["message"]), (true, true), "{text}");
    }
    assert_eq!(told(&joined.next("meta_message_created")["message"]), (true, true));
    let query = format!("sessionId={SESSION}");
    let read = |credential: &str| app.messages(credential, &query).iter().map(told).collect::<Vec<_>>();
    let (all, own) = ([(true, true); 3], [(true, true), (false, false), (false, false)]);
    assert_eq!((read(SECRET_KEY), read(BOT_KEY)), (all.to_vec(), all.to_vec()));
    assert_eq!(
        (read(WIDGET_KEY), read(&app.anonymous_token(WIDGET_KEY, SESSION))),
        (own.to_vec(), own.to_vec())
    );
}
