//! Headers of requests and answers, and requests that are not HTTP.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use amoiq_testkit::{ApiResponse, AppLauncher, PATIENCE, SECRET_KEY, TestApp, WIDGET_KEY, eventually};
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn a_decisive_header_may_be_sent_only_once() {
    let app = TestApp::start();
    let post = |name: &str, values: [&str; 2]| {
        let body = json!({"sessionId": "s", "text": "hello"});
        let mut request = app.request(Method::POST, "/webchat/message").json(&body);
        if name != "authorization" {
            request = request.bearer_auth(WIDGET_KEY);
        }
        ApiResponse::to(values.into_iter().fold(request, |request, value| request.header(name, value)))
    };
    let (widget, secret) = (format!("Bearer {WIDGET_KEY}"), format!("Bearer {SECRET_KEY}"));
    for (name, values) in [
        ("authorization", [widget.as_str(), secret.as_str()]),
        ("authorization", [widget.as_str(), widget.as_str()]),
        ("x-tenant-id", ["demo", "other"]),
        ("idempotency-key", ["a", "b"]),
        ("origin", ["https://a.example", "https://b.example"]),
        ("x-website-origin", ["https://a.example", "https://b.example"]),
        ("content-type", ["application/json", "text/plain"]),
    ] {
        let answer = post(name, values);
        assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{name}");
        assert!(answer.body["details"]["fields"][name].is_string(), "{name} {:?}", answer.body);
    }
    assert_eq!(post("accept", ["text/html", "application/json"]).status, 200, "a list may be cut");
}

#[test]
fn no_cache_may_keep_an_answer() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, "session-of-a-visitor", "hello");
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/api/chat/messages?tenantId=demo&sessionId=session-of-a-visitor", 200),
        ("/api/chat/online-users?tenantId=demo", 403),
        ("/api/webhooks", 403),
        ("/webchat/message", 405),
        ("/nothing", 404),
        ("/socket.io/?EIO=4&transport=polling", 200),
        ("/socket.io/?EIO=3&transport=polling", 400),
    ] {
        let answer = app.get(WIDGET_KEY, path);
        assert_eq!((answer.status, answer.header("cache-control")), (status, "no-store"), "{path}");
    }
    let posted = app.post(WIDGET_KEY, "/webchat/message", &json!({"sessionId": "s", "text": "hello"}));
    assert_eq!(posted.header("cache-control"), "no-store");
    let preflight = ApiResponse::to(app.request(Method::OPTIONS, "/api/chat/messages"));
    assert_eq!((preflight.status, preflight.header("cache-control")), (204, ""), "it says its own age");
}

#[test]
fn invalid_http_is_answered_like_every_error_and_logs_nothing() {
    let mut app = AppLauncher::new().environment("AMOIQ__LOG__LEVEL", "info").start();
    let large = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(140_000));
    for (request, status, code) in [
        ("NOT HTTP\r\n\r\n", 400, "MALFORMED_REQUEST"),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400, "MALFORMED_REQUEST"),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "MALFORMED_REQUEST"),
        ("POST /webchat/message HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, "MALFORMED_REQUEST"),
        ("\u{16}\u{3}\u{1}\u{2}\0\r\n\r\n", 400, "MALFORMED_REQUEST"),
        (&large, 431, "HEADERS_TOO_LARGE"),
    ] {
        let (head, body) = raw(&app, request);
        let shown = &request[..request.len().min(80)];
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {head}");
        assert!(head.contains("cache-control: no-store"), "{shown:?}: {head}");
        assert_eq!((&body["code"], &body["details"]), (&json!(code), &json!({})), "{shown:?}");
        assert!(body["error"].is_string(), "{shown:?}: {body}");
    }
    // A client that sent a valid request first gets both answers.
    let (_, body) = raw(&app, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nNOT HTTP\r\n\r\n");
    assert_eq!(body["code"], "MALFORMED_REQUEST");
    app.terminate();
    eventually("the last line", || app.printed(&["stopped"]));
    assert!(!app.printed(&["ERROR"]) && !app.printed(&["stream error"]));
}

/// The answer to raw bytes: the last answer's head and its body.
fn raw(app: &TestApp, request: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(app.address().trim_start_matches("http://")).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = Vec::new();
    // A connection that breaks off after the answer is one that was closed.
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.rsplit_once("\r\n\r\n").expect("an answer");
    (head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}
