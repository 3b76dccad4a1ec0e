//! Ids as pages and servers write them: texts, whole numbers, and nothing at all, in every place.

use amoiq_testkit::{
    ApiResponse, AppLauncher, SECRET_KEY, SocketClient, SocketHandshake, TestApp, WIDGET_KEY,
};
use reqwest::Method;
use serde_json::{Value, json};

const SESSION: &str = "session-of-ids-012345";

/// The ids of a message.
const IDS: [&str; 6] = ["sessionId", "userId", "siteId", "fingerprint", "clientMessageId", "temp_id"];

/// What an id may not be.
fn no_ids() -> Vec<Value> {
    let text = "[-1, 1.5, 7.0, 1e3, 10000000000000000000, 18446744073709551615, 99999999999999999999, true, false, [], {}]";
    serde_json::from_str(text).expect("JSON")
}

/// A message over HTTP.
fn post(app: &TestApp, mut fields: Value) -> ApiResponse {
    let message = fields.as_object_mut().expect("an object");
    message.entry("text").or_insert_with(|| json!("x"));
    message.entry("sessionId").or_insert_with(|| json!(SESSION));
    app.post(WIDGET_KEY, "/webchat/message", &fields)
}

/// A message on a socket of its own: what it is acknowledged with.
fn emit(app: &TestApp, mut fields: Value) -> Value {
    let message = fields.as_object_mut().expect("an object");
    message.entry("text").or_insert_with(|| json!("x"));
    message.entry("sessionId").or_insert_with(|| json!(SESSION));
    SocketClient::connect(app, WIDGET_KEY).call("message", &fields)
}

/// The user of the newest message of the session.
fn newest(app: &TestApp) -> Value {
    app.messages(WIDGET_KEY, &format!("sessionId={SESSION}&limit=1"))[0].clone()
}

#[test]
fn a_whole_number_is_the_id_of_its_digits() {
    let app = TestApp::start();
    for id in IDS {
        for number in
            [json!(0), json!(42), json!(1_764_448_800_000_u64), json!(9_999_999_999_999_999_999_u64)]
        {
            assert_eq!(post(&app, json!({ id: number })).status, 200, "{id}: {number}");
            // An id of a session that can be guessed opens nothing to a visitor's socket.
            if id != "sessionId" || number.to_string().len() >= 16 {
                assert_eq!(emit(&app, json!({ id: number }))["success"], true, "{id}: {number}");
            }
        }
    }
    post(&app, json!({"userId": 42}));
    assert_eq!(newest(&app)["userId"], "42");
    emit(&app, json!({"userId": 43}));
    assert_eq!(newest(&app)["userId"], "43");
    let answer = post(&app, json!({"sessionId": 1_234_567_890_123_456_789_u64}));
    assert_eq!(answer.body["sessionId"], "1234567890123456789");
}

#[test]
fn a_number_and_its_digits_are_the_same_id_of_a_message() {
    let app = TestApp::start();
    let first = post(&app, json!({"temp_id": 1_764_448_800_001_u64}));
    let keyed = app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY);
    let body = json!({"text": "x", "sessionId": SESSION});
    let repeats = [
        post(&app, json!({"temp_id": "1764448800001"})).body,
        post(&app, json!({"clientMessageId": 1_764_448_800_001_u64})).body,
        ApiResponse::to(keyed.header("idempotency-key", "1764448800001").json(&body)).body,
        emit(&app, json!({"temp_id": 1_764_448_800_001_u64})),
    ];
    for repeat in repeats {
        assert_eq!((&repeat["duplicate"], &repeat["messageId"]), (&json!(true), &first.body["messageId"]));
    }
}

#[test]
fn an_empty_id_counts_as_absent() {
    let app = TestApp::start();
    for id in IDS.into_iter().chain(["tenantId"]) {
        let answer = post(&app, json!({ id: "" }));
        assert_eq!((answer.status, &answer.body["duplicate"]), (200, &Value::Null), "{id}: {answer:?}");
        let answer = emit(&app, json!({ id: "" }));
        assert_eq!((&answer["success"], &answer["duplicate"]), (&json!(true), &Value::Null), "{id}");
    }
    assert_eq!(newest(&app)["userId"], format!("anonymous-{SESSION}"));
    let new = post(&app, json!({"sessionId": ""}));
    assert!(new.body["sessionId"].as_str().is_some_and(|id| id.starts_with("session-")), "{new:?}");
    // The first of two that is not empty.
    let ids = json!({"clientMessageId": "", "temp_id": "said-once"});
    assert_eq!(post(&app, ids.clone()).body["duplicate"], Value::Null);
    assert_eq!(post(&app, ids).body["duplicate"], true);
    let empty =
        app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY).header("idempotency-key", "");
    assert_eq!(ApiResponse::to(empty.json(&json!({"text": "x", "sessionId": SESSION}))).status, 200);
}

#[test]
fn anything_else_is_refused_by_its_name() {
    let app = TestApp::start();
    for id in IDS.into_iter().chain(["tenantId"]) {
        for bad in no_ids() {
            let answer = post(&app, json!({ id: bad }));
            assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{id}: {bad}");
            assert!(answer.body["details"]["fields"][id].is_string(), "{id}: {answer:?}");
            assert!(emit(&app, json!({ id: bad }))["details"]["fields"][id].is_string(), "{id}: {bad}");
        }
    }
    // If it were ignored, its message would be stored twice when it is sent again.
    let request = app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY);
    let broken = reqwest::header::HeaderValue::from_bytes(b"caf\xe9").expect("a value");
    let answer = ApiResponse::to(request.header("idempotency-key", broken).json(&json!({"text": "x"})));
    assert!(answer.body["details"]["fields"]["Idempotency-Key"].is_string(), "{answer:?}");
}

#[test]
fn an_id_in_a_header_may_be_any_text() {
    let app = TestApp::start();
    let send = || {
        let request = app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY);
        let key = reqwest::header::HeaderValue::from_bytes("é-1".as_bytes()).expect("a value");
        ApiResponse::to(
            request.header("idempotency-key", key).json(&json!({"text": "x", "sessionId": SESSION})),
        )
    };
    assert_eq!(send().body["duplicate"], Value::Null);
    assert_eq!(send().body["duplicate"], true);
}

#[test]
fn tokens_and_tenants_take_numbers_too() {
    let config = "[[tenants]]\nid = '7'\nwidget_keys = ['wk_seven_0000']\nsecret_keys = ['sk_seven_0000']";
    let app = AppLauncher::new().config(config).start();
    let wanted = json!({"tenantId": 7, "userId": 42, "sessionId": "", "role": "visitor"});
    let token = app.mint_token("sk_seven_0000", &wanted);
    let sent = app.post(&token, "/webchat/message", &json!({"text": "x", "userId": 42, "tenantId": 7}));
    assert_eq!(sent.status, 200, "{sent:?}");
    let other = app.post(&token, "/webchat/message", &json!({"text": "x", "userId": 43}));
    assert_eq!(other.error(), (403, "FORBIDDEN"));
    let session = 1_234_567_890_123_456_789_u64;
    let anonymous =
        app.post("wk_seven_0000", "/api/chat/anonymous-token", &json!({"tenantId": 7, "sessionId": session}));
    assert_eq!(anonymous.body["sessionId"], "1234567890123456789");
    let bound = anonymous.body["token"].as_str().expect("a token");
    let sent = app.post(bound, "/webchat/message", &json!({"text": "x", "sessionId": session}));
    assert_eq!(sent.status, 200, "{sent:?}");
    let query = "tenantId=&userId=42&sessionId=&limit=";
    assert_eq!(app.messages("sk_seven_0000", query).len(), 1);
    let auth = json!({"token": "wk_seven_0000", "tenantId": 7});
    assert!(SocketHandshake { auth, ..SocketHandshake::default() }.connect(&app).is_ok());
    let auth = json!({"token": "wk_seven_0000", "tenantId": 8});
    assert_eq!(
        SocketHandshake { auth, ..SocketHandshake::default() }.connect(&app).err().expect("a refusal")["data"]
            ["code"],
        "FORBIDDEN"
    );
}

#[test]
fn a_socket_identifies_itself_like_a_message() {
    let app = TestApp::start();
    let number = 1_234_567_890_123_456_789_u64;
    let mut socket = SocketClient::connect_with(
        &app,
        WIDGET_KEY,
        &json!({"sessionId": number, "userId": 42, "siteId": 7}),
    );
    let answer = socket.call("message", &json!({"text": "x"}));
    assert_eq!(answer["sessionId"], "1234567890123456789");
    assert_eq!(socket.next("meta_message_created")["message"]["userId"], "42");
    let join = SocketClient::connect_with(&app, WIDGET_KEY, &json!({"sessionId": ""}))
        .call("join:session", &json!({"sessionId": number}));
    assert_eq!(join["success"], true, "{join}");
    let auth = json!({"token": WIDGET_KEY, "userId": "", "sessionId": null});
    let mut asked = SocketHandshake { auth, query: "userId=u-of-query", ..SocketHandshake::default() }
        .connect(&app)
        .expect("it connects");
    asked.call("message", &json!({"text": "x", "sessionId": SESSION}));
    assert_eq!(newest(&app)["userId"], "u-of-query", "what is empty hides nothing");
    for id in ["userId", "sessionId", "tenantId"] {
        for bad in no_ids() {
            let mut auth = json!({ id: bad });
            auth["token"] = json!(WIDGET_KEY);
            let refusal = SocketHandshake { auth, ..SocketHandshake::default() }
                .connect(&app)
                .err()
                .expect("a refusal");
            assert!(refusal["data"]["details"]["fields"][id].is_string(), "{id}: {bad}: {refusal}");
        }
    }
}

#[test]
fn messages_of_a_socket_belong_to_the_user_that_it_names() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect_with(&app, WIDGET_KEY, &json!({"userId": "ann"}));
    socket.call("message", &json!({"text": "x", "sessionId": SESSION}));
    assert_eq!(newest(&app)["userId"], "ann");
    socket.call("message", &json!({"text": "x", "userId": "bob"}));
    assert_eq!(newest(&app)["userId"], "bob", "what a message says of itself counts more");
    socket.call("message", &json!({"text": "x", "userId": ""}));
    assert_eq!(newest(&app)["userId"], "ann");
    assert_eq!(app.messages(SECRET_KEY, "userId=ann").len(), 3, "the session is hers");
    // Staff who name themselves do not take the session over.
    let mut staff = SocketClient::connect_with(&app, SECRET_KEY, &json!({"userId": "agent-1"}));
    staff.call("message", &json!({"text": "hello", "sessionId": SESSION}));
    assert_eq!(newest(&app)["sender"], "agent");
    assert_ne!(newest(&app)["userId"], "agent-1");
}
