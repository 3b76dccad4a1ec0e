//! Every example of the API reference, as it is printed there, except that keys and ids are filled in.

use amoiq_testkit::{ApiResponse, AppLauncher, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

const KEY: &str = "wk_reference_widget";
const SERVER: &str = "sk_reference_server";
const SESSION: &str = "session-789-abc123";

/// The service with the tenant that the reference writes of.
fn start() -> TestApp {
    let tenant =
        format!("[[tenants]]\nid = 'tenant-123'\nwidget_keys = ['{KEY}']\nsecret_keys = ['{SERVER}']");
    AppLauncher::new().config(&tenant).start()
}

/// The message of the reference, as a logged-in user sends it.
fn message() -> Value {
    json!({
        "text": "Hello, I need help",
        "tenantId": "tenant-123",
        "sessionId": SESSION,
        "fingerprint": "a1b2c3d4e5f6g7h8",
        "userId": "user-456",
        "userInfo": {"name": "John Doe", "email": "john@example.com", "phone": "+1234567890"},
        "domain": "example.com",
        "origin": "https://example.com",
        "url": "https://example.com/page",
        "referrer": "https://google.com",
        "siteId": "site-123"
    })
}

/// `2024-01-15T10:30:00.000Z`: UTC with milliseconds.
fn is_timestamp(value: &Value) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd.dddZ";
    let text = value.as_str().unwrap_or_default();
    let fits = |(digit, form): (char, char)| if form == 'd' { digit.is_ascii_digit() } else { digit == form };
    text.len() == form.len() && text.chars().zip(form.chars()).all(fits)
}

#[test]
fn a_message_is_taken_as_the_reference_prints_it() {
    let app = start();
    let answer = app.post(KEY, "/webchat/message", &message());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.body["success"], true);
    assert_eq!(answer.body["sessionId"], SESSION);
    let id = answer.body["messageId"].as_str().expect("a string");
    let version = id.strip_prefix("msg-").and_then(|uuid| uuid.chars().nth(14));
    assert_eq!(version, Some('7'), "`msg-` and a UUIDv7: {id}");
    assert_eq!(answer.body.get("duplicate"), None);
}

#[test]
fn an_anonymous_message_has_no_user() {
    let app = start();
    let mut anonymous = message();
    let fields = anonymous.as_object_mut().expect("an object");
    fields.remove("userId");
    fields.remove("userInfo");
    assert_eq!(app.post(KEY, "/webchat/message", &anonymous).status, 200);
    let read = app.messages(KEY, &format!("tenantId=tenant-123&sessionId={SESSION}"));
    assert_eq!(read[0]["userId"], format!("anonymous-{SESSION}"));
}

#[test]
fn a_message_without_a_session_starts_one() {
    let app = start();
    let first = app.post(KEY, "/webchat/message", &json!({"text": "Hello", "tenantId": "tenant-123"}));
    let session = first.body["sessionId"].as_str().expect("a string");
    assert!(session.len() >= 16, "it opens its history: {session}");
    let read = app.messages(KEY, &format!("tenantId=tenant-123&sessionId={session}"));
    assert_eq!(read[0]["id"], first.body["messageId"]);
    let other = app.post(KEY, "/webchat/message", &json!({"text": "Hello", "tenantId": "tenant-123"}));
    assert_ne!(other.body["sessionId"], first.body["sessionId"]);
}

#[test]
fn a_history_is_read_as_the_reference_prints_it() {
    let app = start();
    let sent = app.post(KEY, "/webchat/message", &message());
    let visitor = app.anonymous_token(KEY, SESSION);
    let verified =
        app.mint_token(SERVER, &json!({"userId": "user-456", "role": "visitor", "sessionId": SESSION}));
    let query = format!("/api/chat/messages?tenantId=tenant-123&sessionId={SESSION}&userId=user-456");
    for credential in [visitor.as_str(), &verified, KEY, SERVER] {
        let answer = app.get(credential, &query);
        assert_eq!(answer.status, 200, "{answer:?}");
        let messages = answer.body["messages"].as_array().expect("a list");
        assert_eq!(messages.len(), 1);
        let read = &messages[0];
        assert_eq!(read["id"], sent.body["messageId"]);
        assert_eq!(read["text"], "Hello, I need help");
        assert_eq!(read["sender"], "user");
        assert!(is_timestamp(&read["timestamp"]), "{read}");
        assert_eq!(read["sessionId"], SESSION);
        assert_eq!(read["userId"], "user-456");
        // What decisions §4 and §10 add.
        assert_eq!(read["seq"], 1);
        assert_eq!(read["deliveryStatus"], "delivered");
        assert_eq!((&answer.body["hasMore"], &answer.body["nextCursor"]), (&json!(false), &Value::Null));
    }
}

#[test]
fn an_anonymous_token_is_given_as_the_reference_prints_it() {
    let app = start();
    let answer = app.post(KEY, "/api/chat/anonymous-token", &json!({"tenantId": "tenant-123"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.body["token"].as_str().expect("a string");
    assert!(token.starts_with("eyJ") && token.split('.').count() == 3, "{token}");
    assert_eq!(answer.body["expiresIn"], 3600);
    assert!(answer.body["sessionId"].as_str().is_some_and(|session| session.len() >= 16));
    assert!(app.messages(token, "tenantId=tenant-123").is_empty());
}

#[test]
fn online_users_are_listed_as_the_reference_prints_it() {
    let app = start();
    let agent = app.mint_token(SERVER, &json!({"tenantId": "tenant-123", "userId": "ann", "role": "agent"}));
    for credential in [agent.as_str(), SERVER] {
        let request = app.request(Method::GET, "/api/chat/online-users?tenantId=tenant-123");
        let answer = ApiResponse::to(request.bearer_auth(credential).header("X-Tenant-ID", "tenant-123"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, json!({"users": [], "total": 0}));
    }
}

#[test]
fn a_token_is_minted_by_a_secret_key() {
    let app = start();
    for role in ["visitor", "agent", "admin"] {
        let wanted =
            json!({"tenantId": "tenant-123", "userId": "u-1", "role": role, "name": "Ann", "ttlSeconds": 60});
        let answer = app.post(SERVER, "/api/chat/token", &wanted);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body["token"].as_str().is_some_and(|token| token.split('.').count() == 3));
        assert_eq!(answer.body["expiresIn"], 60);
    }
}

#[test]
fn a_closed_session_reopens_on_a_new_message() {
    let app = start();
    app.say(KEY, SESSION, "one");
    let path = format!("/api/chat/sessions/{SESSION}/close");
    for _ in ["closes", "is closed already"] {
        let answer = app.post(SERVER, &path, &json!({"tenantId": "tenant-123"}));
        assert_eq!((answer.status, answer.body), (200, json!({"success": true, "sessionId": SESSION})));
    }
    app.say(KEY, SESSION, "two");
    let seqs: Vec<_> =
        app.messages(KEY, &format!("sessionId={SESSION}")).iter().map(|m| m["seq"].clone()).collect();
    assert_eq!(seqs, [1, 2], "closing leaves no gap");
}

#[test]
fn a_session_whose_id_is_any_text_is_closed() {
    let app = start();
    let session = "a/b c+d%25é?&#=";
    app.say(KEY, session, "one");
    let encoded = "a%2Fb%20c%2Bd%2525%C3%A9%3F%26%23%3D";
    let answer = app.post(SERVER, &format!("/api/chat/sessions/{encoded}/close"), &json!({}));
    assert_eq!((answer.status, &answer.body["sessionId"]), (200, &json!(session)));
    assert_eq!(app.messages(SERVER, &format!("sessionId={encoded}")).len(), 1);
}

#[test]
fn health_needs_no_credential() {
    let app = start();
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let answer = ApiResponse::to(app.request(Method::GET, path));
        assert_eq!((answer.status, answer.body), (200, json!({"status": status})));
        assert_eq!(ApiResponse::to(app.request(Method::HEAD, path)).status, 200);
    }
}
