//! How often a client may send requests, and what it is answered.

use amoiq_testkit::{ApiResponse, AppLauncher, BOT_KEY, SECRET_KEY, TestApp, WIDGET_KEY};
use reqwest::Method;
use serde_json::json;

const READ: &str = "/api/chat/messages?sessionId=session-0123456789";

fn start(http: u32, secret: u32) -> AppLauncher {
    AppLauncher::new()
        .environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", &http.to_string())
        .environment("AMOIQ__RATE_LIMIT__SECRET_KEY_PER_MINUTE", &secret.to_string())
}

/// `X-RateLimit-Limit` and `X-RateLimit-Remaining`.
fn told(answer: &ApiResponse) -> (&str, &str) {
    (answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining"))
}

#[test]
fn the_limit_passes_and_the_next_request_is_refused() {
    let app = start(3, 0).start();
    let answers = [0; 5].map(|_| app.get(WIDGET_KEY, READ));
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 200, 429, 429]);
    assert_eq!(answers.each_ref().map(told), [("3", "2"), ("3", "1"), ("3", "0"), ("3", "0"), ("3", "0")]);
    let resets: Vec<u64> =
        answers.iter().map(|answer| answer.header("x-ratelimit-reset").parse().expect("seconds")).collect();
    // Each is the time of day plus the remaining time: they may round to either side of a second.
    assert!(resets.iter().all(|reset| reset.abs_diff(resets[0]) <= 1), "one window: {resets:?}");
    let date = answers[0].header("date");
    assert!(resets[0] > 1_700_000_000 && resets[0] < 100_000_000_000, "Unix seconds: {resets:?} at {date}");
    let post = app.post(WIDGET_KEY, "/webchat/message", &json!({"text": "x"}));
    assert_eq!(post.status, 429, "one count for all routes");
}

#[test]
fn every_answer_tells_the_limit() {
    let app = start(1_000, 0).start();
    let answers = [
        (200, app.post(WIDGET_KEY, "/webchat/message", &json!({"text": "x"}))),
        (400, app.post(WIDGET_KEY, "/webchat/message", &json!({}))),
        (401, app.get("wk_unknown_0000", READ)),
        (401, app.get("a.b.c", READ)),
        (401, ApiResponse::to(app.request(Method::GET, READ))),
        (403, app.get(WIDGET_KEY, "/api/chat/online-users")),
        (404, app.get(WIDGET_KEY, "/api/nothing")),
        (405, app.get(WIDGET_KEY, "/webchat/message")),
        (415, ApiResponse::to(app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY))),
    ];
    for (number, (status, answer)) in answers.iter().enumerate() {
        assert_eq!(answer.status, *status);
        assert_eq!(told(answer), ("1000", (999 - number).to_string().as_str()), "{status}");
        assert!(!answer.header("x-ratelimit-reset").is_empty());
    }
}

#[test]
fn wrong_keys_are_counted_by_address() {
    let app = start(2, 0).start();
    let statuses = ["sk_guess_0001", "sk_guess_0002", "sk_guess_0003"].map(|key| app.get(key, READ).status);
    assert_eq!(statuses, [401, 401, 429]);
}

#[test]
fn preflights_and_health_are_not_counted() {
    let app = start(1, 1).start();
    for _ in 0..5 {
        for (method, path) in [(Method::OPTIONS, READ), (Method::GET, "/healthz"), (Method::GET, "/readyz")] {
            let answer = ApiResponse::to(app.request(method, path).header("origin", "https://site.example"));
            assert!(answer.status < 300);
            assert_eq!(told(&answer), ("", ""));
        }
    }
    assert_eq!(told(&app.get(WIDGET_KEY, READ)), ("1", "0"));
}

#[test]
fn secret_and_bot_keys_are_counted_by_key() {
    let app = start(1, 2).start();
    let agent = app.mint_token(SECRET_KEY, &json!({"userId": "ann", "role": "agent"}));
    assert_eq!(told(&app.get(SECRET_KEY, READ)), ("2", "0"));
    assert_eq!(app.get(SECRET_KEY, READ).status, 429);
    assert_eq!(told(&app.get(BOT_KEY, READ)), ("2", "1"));
    assert_eq!(told(&app.get(&agent, READ)), ("1", "0"), "a token counts by address");
    assert_eq!(app.get(WIDGET_KEY, READ).status, 429, "with everybody else there");
}

#[test]
fn a_limit_of_0_is_none() {
    let app = TestApp::start();
    for key in [WIDGET_KEY, SECRET_KEY] {
        assert_eq!(told(&app.get(key, "/api/chat/online-users")), ("", ""));
    }
}

#[test]
fn only_a_trusted_proxy_says_who_the_client_is() {
    let tenant = "[[tenants]]\nid = 'acme'\nwidget_keys = ['wk_acme_00000']";
    let ask = |app: &TestApp, forwarded: &str| {
        let request = app.request(Method::GET, READ).bearer_auth("wk_acme_00000");
        ApiResponse::to(request.header("x-forwarded-for", forwarded)).status
    };
    let open = start(1, 0).config(tenant).start();
    assert_eq!(["1.1.1.1", "2.2.2.2"].map(|client| ask(&open, client)), [200, 429], "nobody is believed");
    let behind = start(1, 0)
        .config(tenant)
        .environment("AMOIQ__SERVER__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")
        .start();
    let clients = ["1.1.1.1", "2.2.2.2", "1.1.1.1", "9.9.9.9, 1.1.1.1, 10.0.0.7", "1.1.1.1, 3.3.3.3"];
    assert_eq!(clients.map(|client| ask(&behind, client)), [200, 200, 429, 429, 200]);
}
