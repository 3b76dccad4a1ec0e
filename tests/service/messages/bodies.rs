//! How bodies are written, what a message may not mean, and answers without a body.

use amoiq_testkit::{ApiResponse, BOT_KEY, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY};
use reqwest::Method;
use serde_json::{Value, json};

const SESSION: &str = "session-of-bodies-0123";

fn raw(app: &TestApp, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> ApiResponse {
    let request =
        app.request(Method::POST, path).bearer_auth(SECRET_KEY).header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    ApiResponse::to(request.body(body))
}

fn message() -> Vec<u8> {
    json!({"text": "x", "sessionId": SESSION}).to_string().into_bytes()
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let app = TestApp::start();
    let marked = [b"\xef\xbb\xbf".to_vec(), message()].concat();
    assert_eq!(raw(&app, "/webchat/message", &[], marked).status, 200);
    let close = format!("/api/chat/sessions/{SESSION}/close");
    assert_eq!(raw(&app, &close, &[], b"\xef\xbb\xbf".to_vec()).status, 200, "nothing else is no body");
    for bad in [
        [b"\xef\xbb".to_vec(), message()].concat(),
        [b"\xef\xbb\xbf\xef\xbb\xbf".to_vec(), message()].concat(),
    ] {
        assert_eq!(raw(&app, "/webchat/message", &[], bad).error(), (400, "MALFORMED_JSON"));
    }
}

#[test]
fn a_compressed_body_is_refused_as_what_it_is() {
    let app = TestApp::start();
    let close = format!("/api/chat/sessions/{SESSION}/close");
    for encoding in ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x"] {
        for path in
            ["/webchat/message", "/api/chat/token", "/api/chat/anonymous-token", "/api/webhooks", &close]
        {
            let answer = raw(&app, path, &[("content-encoding", encoding)], message());
            assert_eq!(answer.error(), (415, "UNSUPPORTED_MEDIA_TYPE"), "{encoding} on {path}");
            assert!(answer.body["error"].as_str().is_some_and(|error| error.contains("Content-Encoding")));
            assert_eq!(answer.header("accept-encoding"), "identity");
        }
    }
    for encoding in ["identity", "Identity", "", "identity,"] {
        let answer = raw(&app, "/webchat/message", &[("content-encoding", encoding)], message());
        assert_eq!(answer.status, 200, "{encoding}");
    }
}

#[test]
fn a_compressed_payload_of_a_poll_is_refused_and_its_connection_lives() {
    let app = TestApp::start();
    let open = app.request(Method::GET, "/socket.io/?EIO=4&transport=polling").send().expect("an answer");
    let text = open.text().expect("a body");
    let open: Value = serde_json::from_str(&text[1..]).expect("JSON");
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", open["sid"].as_str().expect("a sid"));
    let post = |encoding: &str| {
        let request = app.request(Method::POST, &path).header("content-encoding", encoding);
        request
            .body(format!("40{}", json!({"token": WIDGET_KEY})))
            .send()
            .expect("an answer")
            .status()
            .as_u16()
    };
    assert_eq!(post("gzip"), 415);
    assert_eq!(post("identity"), 200);
}

#[test]
fn head_is_get_without_its_body() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, SESSION, "x");
    let made = app.post(SECRET_KEY, "/api/webhooks", &json!({"url": "https://hooks.example/amoiq"}));
    let webhook = format!("/api/webhooks/{}", made.body["id"].as_str().expect("an id"));
    let (deliveries, replay) = (format!("{webhook}/deliveries"), format!("{webhook}/replay"));
    let read = format!("/api/chat/messages?sessionId={SESSION}");
    let paths = [
        "/healthz",
        "/readyz",
        &read,
        "/api/chat/online-users",
        "/api/webhooks",
        &webhook,
        &deliveries,
        &replay,
    ];
    for path in paths {
        let ask = |method| ApiResponse::to(app.request(method, path).bearer_auth(SECRET_KEY));
        let (get, head) = (ask(Method::GET), ask(Method::HEAD));
        assert_eq!(head.status, get.status, "{path}");
        for header in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(header), get.header(header), "{header} of {path}");
        }
        assert_eq!(head.body, Value::Null, "{path}");
        let other = ApiResponse::to(app.request(Method::PUT, path).bearer_auth(SECRET_KEY));
        assert!(other.header("allow").starts_with("GET, HEAD"), "{path}: {}", other.header("allow"));
    }
    let stranger = ApiResponse::to(app.request(Method::HEAD, &read));
    assert_eq!(stranger.status, 401);
}

#[test]
fn a_text_in_which_nothing_can_be_seen_is_empty() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect(&app, WIDGET_KEY);
    for text in [
        "\u{200b}",
        " \u{feff}\u{200d}\n",
        "\u{2800}\u{3164}",
        "\u{e0041}",
        "\u{202e}\u{2066}",
        "\u{1}\u{7f}",
    ] {
        let fields = json!({"text": text, "sessionId": SESSION});
        let answer = app.post(WIDGET_KEY, "/webchat/message", &fields);
        assert_eq!(answer.body["details"]["fields"]["text"], "must not be empty", "{text:?}");
        assert_eq!(
            socket.call("message", &fields)["details"]["fields"]["text"],
            "must not be empty",
            "{text:?}"
        );
    }
    app.say(WIDGET_KEY, SESSION, "\u{200b}👍\u{fe0f}");
}

#[test]
fn ten_thousand_emoji_fit_however_they_are_written() {
    let app = TestApp::start();
    let escaped = format!(r#"{{"sessionId":"{SESSION}","text":"{}"}}"#, r"\ud83d\ude00".repeat(10_000));
    assert!(escaped.len() > 120_000);
    assert_eq!(raw(&app, "/webchat/message", &[], escaped.into_bytes()).status, 200);
    assert_eq!(app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"))[0]["text"], "😀".repeat(10_000));
}

#[test]
fn an_unsupported_field_that_changes_the_meaning_is_refused_from_everybody() {
    let app = TestApp::start();
    let agent = app.mint_token(SECRET_KEY, &json!({"userId": "ann", "role": "agent"}));
    let meant = [
        ("private", json!(true)),
        ("private", json!("true")),
        ("private", json!(1)),
        ("internal", json!(true)),
        ("attachments", json!([{"id": "file-1"}])),
        ("attachments", json!("file-1")),
        ("attachments", json!({"id": "file-1"})),
    ];
    let idle = [json!(null), json!(false), json!([]), json!({}), json!(""), json!(0)];
    for credential in [WIDGET_KEY, SECRET_KEY, BOT_KEY, &agent] {
        let mut socket = SocketClient::connect(&app, credential);
        let fields = |field: &str, value: &Value| json!({"text": "x", "sessionId": SESSION, field: value});
        for (field, value) in &meant {
            let answer = app.post(credential, "/webchat/message", &fields(field, value));
            assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{credential}: {field}: {value}");
            assert!(answer.body["details"]["fields"][field].is_string(), "{answer:?}");
            let answer = socket.call("message", &fields(field, value));
            assert!(answer["details"]["fields"][field].is_string(), "{credential}: {field}: {answer}");
        }
        for field in ["private", "internal", "attachments"] {
            for value in &idle {
                let answer = app.post(credential, "/webchat/message", &fields(field, value));
                assert_eq!(answer.status, 200, "{field}: {value}: {answer:?}");
            }
        }
        assert_eq!(socket.call("message", &fields("internal", &json!(false)))["success"], true);
    }
    let texts = app.messages(SECRET_KEY, &format!("sessionId={SESSION}&limit=500"));
    assert_eq!(texts.len(), 4 * (3 * idle.len() + 1), "nothing that was refused is stored");
}
