//! Secrets: each endpoint has its own, only two answers contain it, and it is replaced without a gap.

use amoiq_testkit::{SECRET_KEY, WIDGET_KEY, eventually, receivers::RecordingReceiver};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Given, is_genuine, register, send, starting};

#[test]
fn after_a_rotation_both_secrets_verify_until_the_old_one_ends() {
    let given = Given::new();
    let rotated = given.post("/rotate-secret", &json!({}));
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let new = rotated.body["secret"].as_str().expect("a secret");
    assert_ne!(new, given.secret);
    assert!(rotated.body["previousSecretValidUntil"].is_string());
    given.say("signed twice");
    let [request] = &*given.heard(1) else { panic!("one request") };
    assert!(is_genuine(request, new) && is_genuine(request, &given.secret));
    assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
}

#[test]
fn a_leaked_secret_no_longer_signs() {
    let given = Given::new();
    let rotated = given.post("/rotate-secret", &json!({"expirePrevious": true}));
    let new = rotated.body["secret"].as_str().expect("a secret");
    assert_eq!(rotated.body["previousSecretValidUntil"], Value::Null);
    assert!(rotated.body.as_object().is_some_and(|body| body.contains_key("previousSecretValidUntil")));
    given.say("signed once");
    let [request] = &*given.heard(1) else { panic!("one request") };
    assert!(is_genuine(request, new) && !is_genuine(request, &given.secret));
    let bad = given.post("/rotate-secret", &json!({"expirePrevious": "yes"}));
    assert!(bad.body["details"]["fields"]["expirePrevious"].is_string(), "{bad:?}");
}

#[test]
fn secrets_are_unique_and_appear_in_no_other_answer_and_no_log_line() {
    let app = starting().environment("AMOIQ__LOG__LEVEL", "trace").start();
    let receiver = RecordingReceiver::start();
    receiver.answer(500, "no");
    let wanted = json!({"url": receiver.url(), "headers": {"X-Token": "hush-hush-1"}});
    let (id, first) = register(&app, SECRET_KEY, &wanted);
    let (_, second) = register(&app, SECRET_KEY, &wanted);
    let path = |rest: &str| format!("/api/webhooks/{id}{rest}");
    let rotated = app.post(SECRET_KEY, &path("/rotate-secret"), &json!({}));
    let third = rotated.body["secret"].as_str().expect("a secret").to_owned();
    let secrets = [first, second, third];
    for (place, secret) in secrets.iter().enumerate() {
        assert!(!secrets[..place].contains(secret));
    }
    let message = app.say(WIDGET_KEY, super::SESSION, "a text that is nobody's business");
    eventually("it fails", || receiver.requests().len() > 2);
    let mut answers = vec![
        app.get(SECRET_KEY, "/api/webhooks"),
        app.get(SECRET_KEY, &path("")),
        app.get(SECRET_KEY, &path("/deliveries")),
        send(&app, SECRET_KEY, Method::PATCH, &path(""), &json!({"description": "x"})),
        send(&app, SECRET_KEY, Method::PATCH, &path(""), &json!({"headers": {"bad name": "hush-hush-1"}})),
    ];
    let bare = json!({});
    for rest in ["/pause", "/resume", "/test", &format!("/deliveries/{message}/redeliver")] {
        answers.push(app.post(SECRET_KEY, &path(rest), &bare));
    }
    answers.push(app.post(SECRET_KEY, &path("/replay"), &json!({"from": 0})));
    for answer in &answers {
        let text = answer.body.to_string();
        assert!(!text.contains("whsec_") && !text.contains("\"secret\""), "{text}");
        let has_keys = secrets.iter().any(|secret| text.contains(secret.trim_start_matches("whsec_")));
        assert!(!has_keys, "{text}");
    }
    assert!(!answers[4].body.to_string().contains("hush"), "a refusal shows no value");
    assert!(app.printed(&["/api/webhooks"]), "every request is in the log at this level");
    for secret in &secrets {
        assert!(!app.printed(&[secret.trim_start_matches("whsec_")]));
    }
    assert!(!app.printed(&["hush-hush"]) && !app.printed(&["nobody's business"]));
}
