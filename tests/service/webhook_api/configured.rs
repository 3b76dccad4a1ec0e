//! Endpoints of the configuration: served like others, and changed there only.

use amoiq_testkit::{SECRET_KEY, TestApp, eventually, receivers::RecordingReceiver};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SESSION, is_genuine, send, starting};

const KEY: &str = "sk_acme_00000";
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn tenant(webhooks: &str) -> String {
    format!(
        "[[tenants]]\nid = 'acme'\nwidget_keys = ['wk_acme_00000']\nsecret_keys = ['{KEY}']\nwebhooks = [{webhooks}]"
    )
}

fn only(app: &TestApp) -> Value {
    let listed = app.get(KEY, "/api/webhooks").body["webhooks"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    listed[0].clone()
}

#[test]
fn an_endpoint_of_the_configuration_is_served_and_is_changed_only_there() {
    let receiver = RecordingReceiver::start();
    let config = tenant(&format!("{{ url = '{}', secret = '{SIGNING}' }}", receiver.url()));
    let app = starting().config(&config).start();
    let shown = only(&app);
    assert_eq!((&shown["source"], &shown["status"]), (&json!("configuration"), &json!("enabled")));
    let message = app.say("wk_acme_00000", SESSION, "hello");
    eventually("it hears", || receiver.requests().len() == 1);
    assert!(is_genuine(&receiver.requests()[0], SIGNING));
    let path = |rest: &str| format!("/api/webhooks/{}{rest}", shown["id"].as_str().expect("an id"));
    for (method, rest) in [(Method::PATCH, ""), (Method::DELETE, ""), (Method::POST, "/rotate-secret")] {
        let answer = send(&app, KEY, method.clone(), &path(rest), &json!({"description": "mine"}));
        assert_eq!(answer.error(), (409, "WEBHOOK_CONFIGURED"), "{method} {rest}: {answer:?}");
    }
    assert_eq!(only(&app), shown);
    eventually("it is noted", || {
        app.get(KEY, &path("/deliveries")).body["deliveries"][0]["status"] == "delivered"
    });
    for (rest, body, status) in [
        ("/test", json!({}), 200),
        ("/pause", json!({}), 200),
        ("/resume", json!({}), 200),
        (&*format!("/deliveries/{message}/redeliver"), json!({}), 202),
        ("/replay", json!({"from": 0}), 202),
    ] {
        let answer = app.post(KEY, &path(rest), &body);
        assert_eq!(answer.status, status, "{rest}: {answer:?}");
    }
}

#[test]
fn endpoints_follow_the_configuration_at_each_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = RecordingReceiver::start();
    let entry = |secret: &str| format!("{{ url = '{}', secret = '{secret}' }}", receiver.url());
    let start = |webhooks: &str| starting().data(directory.path()).config(&tenant(webhooks)).start();
    let mut app = start(&entry(SIGNING));
    let before = only(&app);
    app.kill();
    let other = "whsec_b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=";
    let mut app = start(&entry(other));
    assert_eq!(only(&app), before, "the same endpoint");
    app.say("wk_acme_00000", SESSION, "after a rotation");
    eventually("it hears", || receiver.requests().len() == 1);
    let request = &receiver.requests()[0];
    assert!(is_genuine(request, other) && is_genuine(request, SIGNING), "both sign for a while");
    app.kill();
    let app = start("");
    assert_eq!(app.get(KEY, "/api/webhooks").body, json!({"webhooks": []}));
    let path = format!("/api/webhooks/{}", before["id"].as_str().expect("an id"));
    assert_eq!(app.get(KEY, &path).error(), (404, "WEBHOOK_NOT_FOUND"));
    assert_eq!(app.get(SECRET_KEY, &path).error(), (401, "INVALID_API_KEY"), "the demo is gone");
}
