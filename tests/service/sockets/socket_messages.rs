//! What sockets send and receive.

use std::time::Duration;

use amoiq_testkit::{AppLauncher, BOT_KEY, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY};
use serde_json::json;

const SESSION: &str = "session-0123456789abcdef";
const OTHER: &str = "session-of-somebody-else";

#[test]
fn the_sender_every_tab_and_the_staff_receive_a_message_once_as_sent() {
    let app = TestApp::start();
    let mut admin = SocketClient::connect(&app, SECRET_KEY);
    let mut first = SocketClient::connect(&app, WIDGET_KEY);
    let mut second = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    let mut stranger = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": OTHER }));
    let text = "  <b>\"quoted\"</b>\n\u{1F600} e\u{301} \u{2028} \\  ";
    first.emit("message", &json!({ "type": "message", "text": text, "sessionId": SESSION, "userId": "u-7" }));
    for socket in [&mut first, &mut second, &mut admin] {
        let heard = socket.next("meta_message_created");
        let message = &heard["message"];
        assert_eq!(message["text"], text);
        assert_eq!((&message["sender"], &message["sessionId"]), (&json!("user"), &json!(SESSION)));
        assert_eq!((&message["userId"], &message["tenantId"]), (&json!("u-7"), &json!("demo")));
        assert_eq!(message["seq"], 1);
    }
    app.say(SECRET_KEY, SESSION, "an answer");
    for socket in [&mut first, &mut second, &mut admin] {
        assert_eq!(socket.next("meta_message_created")["message"]["sender"], "agent");
    }
    assert!(stranger.is_silent_for(Duration::from_millis(200)), "it hears another session");
}

#[test]
fn a_crowded_room_hears_everything_in_order_and_another_room_is_served_meanwhile() {
    const LISTENERS: usize = 300;
    const MESSAGES: u64 = 40;
    let unlimited = AppLauncher::new().environment("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0");
    let app = unlimited.start();
    let in_session = |session| SocketClient::connect_with(&app, SECRET_KEY, &json!({ "sessionId": session }));
    let mut sender = in_session(OTHER);
    app.say(WIDGET_KEY, SESSION, "the first");
    let join = |_| {
        let mut listener = SocketClient::connect(&app, BOT_KEY);
        listener.call("join:session", &json!({ "sessionId": SESSION }));
        listener
    };
    let mut listeners: Vec<_> = (0..LISTENERS).map(join).collect();
    for number in 0..MESSAGES {
        sender.emit("message", &json!({ "text": number.to_string(), "sessionId": SESSION }));
        let taken = sender.call("message", &json!({ "text": "meanwhile", "sessionId": OTHER }));
        assert_eq!(taken["success"], true, "{taken}");
    }
    for listener in &mut listeners {
        for seq in 2..MESSAGES + 2 {
            assert_eq!(listener.next("meta_message_created")["message"]["seq"], seq);
        }
    }
}

#[test]
fn a_message_is_acknowledged_and_a_repeat_says_so_without_an_echo() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect(&app, WIDGET_KEY);
    let message = json!({ "text": "hi", "sessionId": SESSION, "clientMessageId": "c-1" });
    let first = socket.call("message", &message);
    assert_eq!((&first["success"], &first["sessionId"]), (&json!(true), &json!(SESSION)));
    let echo = socket.next("meta_message_created");
    assert_eq!(echo["message"]["id"], first["messageId"]);
    assert_eq!(
        (&echo["message"]["clientMessageId"], &echo["message"]["temp_id"]),
        (&json!("c-1"), &json!("c-1"))
    );
    let again = socket.call("message", &message);
    assert_eq!((&again["messageId"], &again["duplicate"]), (&first["messageId"], &json!(true)));
    assert_eq!(app.messages(SECRET_KEY, &format!("sessionId={SESSION}")).len(), 1);
    socket.text(&format!(r#"4277["leave:session",{{"sessionId":"{OTHER}"}}]"#));
    let left = format!(r#"4377[{{"sessionId":"{OTHER}","success":true}}]"#);
    assert_eq!(socket.packet(), Some(left), "members are in the order of their names");
}

#[test]
fn a_socket_stays_with_its_first_session_whatever_a_later_message_names() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect(&app, WIDGET_KEY);
    socket.call("message", &json!({ "text": "one", "sessionId": SESSION }));
    let second = socket.call("message", &json!({ "text": "two", "sessionId": OTHER }));
    assert_eq!(second["sessionId"], SESSION);
    let token = app.anonymous_token(WIDGET_KEY, OTHER);
    let mut bound = SocketClient::connect(&app, &token);
    assert_eq!(bound.call("message", &json!({ "text": "x", "sessionId": SESSION }))["sessionId"], OTHER);
}

#[test]
fn a_message_without_a_session_starts_one() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect(&app, WIDGET_KEY);
    let answer = socket.call("message", &json!({ "text": "hi" }));
    let session = answer["sessionId"].as_str().expect("a session").to_owned();
    assert_eq!(socket.next("meta_message_created")["message"]["sessionId"], session);
    assert_eq!(app.messages(WIDGET_KEY, &format!("sessionId={session}")).len(), 1);
}

#[test]
fn staff_and_bots_name_the_session_that_they_answer_in() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, SESSION, "help");
    let agent = app.mint_token(SECRET_KEY, &json!({ "userId": "ann", "role": "agent", "name": "Ann" }));
    for (credential, sender) in [(SECRET_KEY, "agent"), (&*agent, "agent"), (BOT_KEY, "bot")] {
        let mut socket = SocketClient::connect(&app, credential);
        let refused = socket.call("message", &json!({ "text": "where?" }));
        assert_eq!(
            (&refused["code"], &refused["details"]["fields"]["sessionId"]),
            (&json!("VALIDATION_FAILED"), &json!("is required"))
        );
        let taken = socket.call("message", &json!({ "text": "here", "sessionId": SESSION }));
        assert_eq!(taken["success"], true, "{taken}");
        let history = app.messages(SECRET_KEY, &format!("sessionId={SESSION}"));
        assert_eq!(history.last().expect("a message")["sender"], sender);
    }
}

#[test]
fn an_error_comes_in_the_acknowledgement_or_as_an_error_event() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect(&app, WIDGET_KEY);
    for (message, code) in [
        (json!({ "sessionId": SESSION }), "VALIDATION_FAILED"),
        (json!({ "text": "x", "sessionId": "short" }), "FORBIDDEN"),
        (json!({ "text": "x", "tenantId": "another", "sessionId": SESSION }), "FORBIDDEN"),
        (json!("just a text"), "VALIDATION_FAILED"),
        (json!({ "text": "x".repeat(140_000), "sessionId": SESSION }), "PAYLOAD_TOO_LARGE"),
        (json!({ "text": "x".repeat(10_001), "sessionId": SESSION }), "VALIDATION_FAILED"),
    ] {
        let answer = socket.call("message", &message);
        assert_eq!(answer["code"], code, "{answer}");
        assert!(answer["details"].is_object() && answer["error"].is_string());
    }
    socket.emit("message", &json!({ "sessionId": SESSION }));
    assert_eq!(socket.next("error")["code"], "VALIDATION_FAILED");
    assert_eq!(socket.call("no-such-event", &json!({}))["code"], "VALIDATION_FAILED");
    socket.emit("no-such-event", &json!({}));
    assert!(socket.is_silent_for(Duration::from_millis(100)), "an unknown event is passed over");
}

#[test]
fn the_eleventh_message_of_a_second_is_not_taken_and_the_client_learns_when_to_try_again() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    for number in 0..11 {
        socket.emit("message", &json!({ "text": number.to_string() }));
    }
    let refused = socket.next("error");
    assert_eq!(refused["code"], "RATE_LIMIT_EXCEEDED");
    let wait = refused["details"]["retryAfterMs"].as_u64().expect("a time");
    assert!((1..=1_000).contains(&wait), "{wait}");
    for number in 0..10 {
        assert_eq!(socket.next("meta_message_created")["message"]["text"], number.to_string());
    }
    assert_eq!(
        socket.call("join:session", &json!({ "sessionId": SESSION }))["success"],
        true,
        "only messages are"
    );
    std::thread::sleep(Duration::from_millis(wait));
    assert_eq!(socket.call("message", &json!({ "text": "again" }))["success"], true);
    assert_eq!(app.messages(SECRET_KEY, &format!("sessionId={SESSION}")).len(), 11);
}

#[test]
fn whoever_may_join_a_session_receives_it_until_they_leave() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, SESSION, "one");
    let mut bot = SocketClient::connect(&app, BOT_KEY);
    let session = json!({ "sessionId": SESSION });
    assert_eq!(
        bot.call("join:session", &json!({ "sessionId": "not-a-session-0000" }))["code"],
        "SESSION_NOT_FOUND"
    );
    assert_eq!(bot.call("join:session", &session)["success"], true);
    app.say(WIDGET_KEY, SESSION, "two");
    assert_eq!(heard_until(&mut bot, "one", "two"), ["two"]);
    assert_eq!(bot.call("leave:session", &session)["success"], true);
    app.say(WIDGET_KEY, SESSION, "three");
    assert!(bot.is_silent_for(Duration::from_millis(200)));
    let mut visitor = SocketClient::connect(&app, WIDGET_KEY);
    assert_eq!(visitor.call("join:session", &session)["success"], true);
    assert_eq!(visitor.call("join:session", &json!({ "sessionId": OTHER }))["code"], "FORBIDDEN");
    app.say(WIDGET_KEY, SESSION, "four");
    assert_eq!(heard_until(&mut visitor, "three", "four"), ["four"]);
}

#[test]
fn a_visitor_who_leaves_their_own_session_still_receives_it() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, SESSION, "one");
    let session = json!({ "sessionId": SESSION });
    let token =
        app.mint_token(SECRET_KEY, &json!({ "userId": "ann", "role": "visitor", "sessionId": OTHER }));
    let visitors = [
        (SESSION, SocketClient::connect_with(&app, WIDGET_KEY, &session)),
        (OTHER, SocketClient::connect(&app, &token)),
    ];
    for (own, mut visitor) in visitors {
        let own = json!({ "sessionId": own });
        assert_eq!(visitor.call("leave:session", &own)["success"], true);
        visitor.emit("leave:session", &own);
        let answer = visitor.call("message", &json!({ "text": "mine" }));
        assert_eq!(answer["sessionId"], own["sessionId"]);
        app.say(SECRET_KEY, own["sessionId"].as_str().expect("an id"), "the answer");
        assert_eq!(heard_until(&mut visitor, "one", "the answer"), ["mine", "the answer"]);
    }
}

#[test]
fn staff_in_a_session_still_receive_each_message_once() {
    let app = AppLauncher::new().start();
    app.say(WIDGET_KEY, SESSION, "one");
    let mut admin = SocketClient::connect(&app, SECRET_KEY);
    assert_eq!(admin.call("join:session", &json!({ "sessionId": SESSION }))["success"], true);
    app.say(WIDGET_KEY, SESSION, "two");
    app.say(WIDGET_KEY, SESSION, "three");
    assert_eq!(heard_until(&mut admin, "one", "three"), ["two", "three"]);
}

/// The messages that a socket receives up to one. A message that was on its way when the socket connected is left out.
fn heard_until(socket: &mut SocketClient, on_its_way: &str, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        let heard = socket.next("meta_message_created");
        let text = heard["message"]["text"].as_str().expect("a text").to_owned();
        if !texts.is_empty() || text != on_its_way {
            texts.push(text);
        }
    }
    texts
}
