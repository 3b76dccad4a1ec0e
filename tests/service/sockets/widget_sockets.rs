//! What the widget's present generation does on the wire, beside the one before it.

use std::time::Duration;

use amoiq_testkit::{SECRET_KEY, SocketClient, SocketHandshake, TestApp, WIDGET_KEY, cli};
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789abcdef";
const OTHER: &str = "session-of-somebody-else";

/// What a page says when it is loaded.
fn page() -> Value {
    json!({
        "sessionId": SESSION, "fingerprint": "f1e2d3", "domain": "shop.example", "origin": "https://shop.example",
        "url": "https://shop.example/basket",
    })
}

/// The answer to what a page asks for when it is loaded.
fn load(app: &TestApp) -> Value {
    app.post(WIDGET_KEY, "/webchat/session", &page()).expect_status(200)
}

/// A page's socket that is in its session.
fn socket(app: &TestApp, token: &Value) -> SocketClient {
    let mut socket = SocketClient::connect(app, token.as_str().expect("a token"));
    socket.emit("join:session", &json!({ "sessionId": SESSION }));
    socket
}

fn write(app: &TestApp, text: &str, temp_id: &str) -> Value {
    let body = json!({ "text": text, "sessionId": SESSION, "fingerprint": "f1e2d3", "temp_id": temp_id });
    app.post(WIDGET_KEY, "/webchat/message", &body).expect_status(200)
}

#[test]
fn a_visitor_writes_is_answered_and_finds_both_after_a_reload_and_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let mut app = TestApp::start_on(data.path());
    let loaded = load(&app);
    assert_eq!(loaded["session_id"], SESSION);
    assert_eq!(loaded["websocket_url"], app.address());
    let mut tab = socket(&app, &loaded["ws_token"]);
    assert!(tab.is_silent_for(Duration::from_millis(100)), "there is no conversation yet");
    app.post(WIDGET_KEY, "/webchat/open", &page()).expect_status(200);

    let answer = write(&app, "hello", "t-1");
    for absent in ["message_id", "message", "data"] {
        assert!(answer.get(absent).is_none(), "{absent} would leave the bubble without its tick");
    }
    let conversation = tab.next("conversation:created")["conversation_id"].clone();
    assert!(conversation.as_str().expect("an id").starts_with("conv-"));
    let echo = tab.next("meta_message_created")["message"].clone();
    for (name, value) in [
        ("id", &answer["messageId"]),
        ("message_id", &answer["messageId"]),
        ("text", &json!("hello")),
        ("message_text", &json!("hello")),
        ("sender", &json!("user")),
        ("sender_type", &json!("user")),
        ("temp_id", &json!("t-1")),
        ("created_at", &echo["timestamp"]),
        ("conversation_id", &conversation),
        ("conversationId", &conversation),
    ] {
        assert_eq!(&echo[name], value, "{name}");
    }

    let named = json!({ "conversationId": conversation });
    tab.emit("join:conversation", &named);
    assert_eq!(tab.next("joined")["conversation_id"], conversation);
    tab.emit("leave:session", &json!({ "sessionId": SESSION }));
    app.say(SECRET_KEY, SESSION, "how can I help?");
    assert_eq!(tab.next("meta_message_created")["message"]["sender_type"], "agent", "it left no session");

    app.kill();
    let app = TestApp::start_on(data.path());
    let history = format!("/webchat/messages?conversationId={}", conversation.as_str().expect("an id"));
    let history = app.get(WIDGET_KEY, &history).expect_status(200);
    let shown: Vec<_> = history["messages"].as_array().expect("messages").iter().collect();
    let texts: Vec<_> = shown.iter().map(|message| &message["message_text"]).collect();
    assert_eq!(texts, ["hello", "how can I help?"]);
    assert!(shown.iter().all(|message| message["conversation_id"] == conversation));
    let mut again = socket(&app, &loaded["ws_token"]);
    assert_eq!(again.next("conversation:update")["conversation_id"], conversation, "it is told what it has");
}

#[test]
fn both_generations_of_the_widget_are_in_one_session() {
    let app = TestApp::start();
    let mut present = socket(&app, &load(&app)["ws_token"]);
    let mut before = SocketClient::connect(&app, WIDGET_KEY);
    before.call("message", &json!({ "text": "from the one before", "sessionId": SESSION }));
    write(&app, "from the present one", "t-1");
    for tab in [&mut present, &mut before] {
        for text in ["from the one before", "from the present one"] {
            assert_eq!(tab.next("meta_message_created")["message"]["text"], text);
        }
    }
}

#[test]
fn a_conversation_is_closed_and_reopened_under_one_id() {
    let app = TestApp::start();
    let mut staff = SocketClient::connect(&app, SECRET_KEY);
    let mut tab = socket(&app, &load(&app)["ws_token"]);
    write(&app, "hello", "t-1");
    let conversation = tab.next("conversation:created")["conversationId"].clone();
    assert!(staff.next("conversation:created")["by"].is_string(), "staff see who");
    let open = app.post(WIDGET_KEY, "/webchat/init", &page()).expect_status(200);
    assert_eq!((&open["closed_at"], &open["conversation_id"]), (&Value::Null, &conversation));
    app.post(SECRET_KEY, &format!("/api/chat/sessions/{SESSION}/close"), &json!({})).expect_status(200);
    let closed = tab.next("conversation:closed");
    assert_eq!(closed["conversation_id"], conversation);
    assert!(closed.get("by").is_none(), "a visitor does not see who");
    let init = app.post(WIDGET_KEY, "/webchat/init", &page()).expect_status(200);
    assert_eq!(init["closed_at"], closed["at"]);
    write(&app, "one more thing", "t-2");
    assert_eq!(tab.next("conversation:reopened")["conversation_id"], conversation);
}

#[test]
fn what_a_page_says_of_its_visitor_is_stored_with_their_message_and_not_before() {
    let app = TestApp::start();
    let mut said = page();
    said["userId"] = json!("u-7");
    said["userName"] = json!("Ann");
    app.post(WIDGET_KEY, "/webchat/session", &said).expect_status(200);
    app.post(WIDGET_KEY, "/webchat/init", &said).expect_status(200);
    let unknown = app.get(SECRET_KEY, &format!("/api/chat/messages?sessionId={SESSION}"));
    assert_eq!(unknown.error(), (404, "SESSION_NOT_FOUND"), "nothing is appended");
    write(&app, "hello", "t-1");
    let messages = app.messages(SECRET_KEY, &format!("sessionId={SESSION}"));
    assert_eq!(messages[0]["userId"], "u-7");
}

#[test]
fn what_a_page_said_of_somebody_who_is_erased_is_forgotten_and_nothing_else_is() {
    let app = TestApp::start();
    for (session, user) in [(SESSION, "u-7"), (OTHER, "u-8")] {
        let mut said = page();
        (said["sessionId"], said["userId"]) = (json!(session), json!(user));
        app.post(WIDGET_KEY, "/webchat/init", &said).expect_status(200);
    }
    cli::stdout_of(app.data(), &["erase", "--tenant", "demo", "--user", "u-7", "--yes"]);
    for (session, user) in [(SESSION, format!("anonymous-{SESSION}")), (OTHER, "u-8".to_owned())] {
        app.say(WIDGET_KEY, session, "hello");
        assert_eq!(app.messages(SECRET_KEY, &format!("sessionId={session}"))[0]["userId"], user);
    }
}

#[test]
fn a_token_for_a_socket_opens_its_session_and_nothing_else() {
    let app = TestApp::start();
    let token = load(&app)["ws_token"].clone();
    let token = token.as_str().expect("a token");
    for (method, path) in [
        ("GET", format!("/api/chat/messages?sessionId={SESSION}")),
        ("POST", "/webchat/message".to_owned()),
        ("POST", "/webchat/session".to_owned()),
        ("POST", "/api/chat/anonymous-token".to_owned()),
    ] {
        let answer = if method == "GET" { app.get(token, &path) } else { app.post(token, &path, &page()) };
        assert_eq!(answer.error(), (403, "FORBIDDEN"), "{path}");
    }
    let mut socket = SocketClient::connect(&app, token);
    app.say(WIDGET_KEY, OTHER, "not yours");
    let refused = socket.call("join:session", &json!({ "sessionId": OTHER }));
    assert_eq!(refused["code"], "FORBIDDEN");
    let theirs = app.messages(SECRET_KEY, &format!("sessionId={OTHER}"))[0]["conversation_id"].clone();
    let refused = socket.call("join:conversation", &json!({ "conversationId": theirs }));
    assert_eq!(refused["code"], "FORBIDDEN");
    let unknown = json!({ "conversationId": "conv-00000000-0000-7000-8000-000000000000" });
    assert_eq!(socket.call("join:conversation", &unknown), refused, "nor is it told which there are");
}

#[test]
fn a_token_for_a_socket_ends_when_its_session_becomes_a_verified_users() {
    let app = TestApp::start();
    let token = load(&app)["ws_token"].clone();
    let token = token.as_str().expect("a token");
    let claims = json!({ "userId": "ann", "role": "visitor", "sessionId": SESSION });
    let verified = app.mint_token(SECRET_KEY, &claims);
    app.say(&verified, SESSION, "mine now");
    let refused = SocketHandshake { auth: json!({ "token": token }), ..SocketHandshake::default() };
    assert_eq!(refused.connect(&app).err().expect("a refusal")["data"]["code"], "FORBIDDEN");
    let answer = app.post(WIDGET_KEY, "/webchat/session", &page());
    assert_eq!(answer.error(), (403, "FORBIDDEN"));
}
