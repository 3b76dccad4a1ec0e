//! Mistakes in an endpoint are reported field by field, and nothing is created.

use amoiq_testkit::{ApiResponse, AppLauncher, SECRET_KEY};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{register, starting};

/// A field, a value that is refused, and a word of the refusal.
fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let many: Map<_, _> = (0..21).map(|number| (format!("x-{number}"), json!("v"))).collect();
    vec![
        ("url", json!(7), "must be a string"),
        ("url", json!("example.com"), "cannot be read"),
        ("url", json!("ftp://example.com"), "not http or https"),
        ("url", json!("https://user:word@example.com"), "user or a password"),
        ("url", json!(format!("https://example.com/{}", "x".repeat(2_048))), "over 2048 bytes"),
        ("url", json!("http://10.0.0.1/"), "webhooks.allowed_networks"),
        ("url", json!("http://[::ffff:127.0.0.1]/"), "webhooks.allowed_networks"),
        ("url", json!("http://169.254.169.254/latest"), "webhooks.allowed_networks"),
        ("events", json!("message.created"), "must be a list"),
        ("events", json!([]), "message.created"),
        ("events", json!(["message.deleted"]), "message.created"),
        ("events", json!(["message.created", 7]), "message.created"),
        ("description", json!("x".repeat(1_001)), "at most 1000"),
        ("description", json!("a\u{0}b"), "NUL"),
        ("headers", json!([]), "an object of texts"),
        ("headers", json!({"x-a": 1}), "an object of texts"),
        ("headers", json!({"x a": "1"}), "not valid"),
        ("headers", json!({"x-a": "é"}), "visible ASCII"),
        ("headers", json!({"x-a": "1\r\nhost: b"}), "visible ASCII"),
        ("headers", json!({"x-a": "v".repeat(1_025)}), "1024"),
        ("headers", json!({"X-A": "1", "x-a": "2"}), "named twice"),
        ("headers", json!({"Webhook-Id": "1"}), "reserved"),
        ("headers", json!({"host": "b"}), "reserved"),
        ("headers", json!({"Content-Type": "text/plain"}), "reserved"),
        ("headers", Value::Object(many), "at most 20"),
        ("ratePerSecond", json!(0), "1 to 1000"),
        ("ratePerSecond", json!(1_001), "1 to 1000"),
        ("ratePerSecond", json!("fast"), "whole number"),
    ]
}

fn says(answer: &ApiResponse, field: &str, word: &str) {
    assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{field} {word}: {answer:?}");
    let reason = answer.body["details"]["fields"][field].as_str().unwrap_or_default();
    assert!(reason.contains(word), "{field}: `{reason}` does not say `{word}`");
}

#[test]
fn a_bad_field_is_named_and_nothing_is_created_or_changed() {
    let app = starting().start();
    let (id, _) = register(&app, SECRET_KEY, &json!({"url": "https://example.com"}));
    let before = app.get(SECRET_KEY, "/api/webhooks").body;
    for (field, value, word) in refused() {
        let mut body = json!({"url": "https://example.com/other"});
        body[field] = value;
        says(&app.post(SECRET_KEY, "/api/webhooks", &body), field, word);
        let path = format!("/api/webhooks/{id}");
        let change = app.request(Method::PATCH, &path).bearer_auth(SECRET_KEY).json(&body);
        says(&ApiResponse::to(change), field, word);
    }
    assert_eq!(app.get(SECRET_KEY, "/api/webhooks").body, before);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let app = starting().start();
    let answer = app.post(SECRET_KEY, "/api/webhooks", &json!({"events": [], "ratePerSecond": 0}));
    for field in ["url", "events", "ratePerSecond"] {
        assert!(answer.body["details"]["fields"][field].is_string(), "{field}: {answer:?}");
    }
}

#[test]
fn the_largest_allowed_values_are_accepted() {
    let app = starting().start();
    let headers: Map<_, _> = (0..20).map(|number| (format!("x-{number}"), json!("v v"))).collect();
    let wanted = json!({
        "url": "https://example.com", "description": "é".repeat(1_000), "headers": headers, "ratePerSecond": 1000
    });
    register(&app, SECRET_KEY, &wanted);
    register(&app, SECRET_KEY, &json!({"url": "https://example.com", "headers": {"x-a": "v".repeat(1_024)}}));
}

#[test]
fn without_the_setting_no_local_address_can_be_an_endpoint() {
    let app = AppLauncher::new().start();
    for url in ["http://127.0.0.1:9/", "http://127.1/", "http://2130706433/", "http://[::1]/"] {
        let answer = app.post(SECRET_KEY, "/api/webhooks", &json!({"url": url}));
        says(&answer, "url", "webhooks.allowed_networks");
    }
}

#[test]
fn a_body_that_is_not_json_is_refused() {
    let app = starting().start();
    let post = |kind: &str, body: &str| {
        let request = app.request(Method::POST, "/api/webhooks").bearer_auth(SECRET_KEY);
        ApiResponse::to(request.header("content-type", kind).body(body.to_owned()))
    };
    assert_eq!(post("application/json", "{").error(), (400, "MALFORMED_JSON"));
    assert_eq!(post("text/plain", "{}").error(), (415, "UNSUPPORTED_MEDIA_TYPE"));
    assert_eq!(post("application/json", "[]").error(), (400, "VALIDATION_FAILED"));
}

#[test]
fn a_configuration_under_which_nothing_would_be_delivered_is_refused() {
    for (key, value) in [("IN_FLIGHT", "0"), ("PENDING_PER_ENDPOINT", "0"), ("ATTEMPT_TIMEOUT_MS", "0")] {
        let directory = tempfile::tempdir().expect("a directory");
        let start = AppLauncher::new().data(directory.path());
        let output = start.environment(&format!("AMOIQ__WEBHOOKS__{key}"), value).output();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(said.contains(&format!("webhooks.{}", key.to_lowercase())), "{said}");
        let mut left = std::fs::read_dir(directory.path()).expect("a directory");
        assert!(left.next().is_none(), "it is refused before anything is opened");
    }
}
