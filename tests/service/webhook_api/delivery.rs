//! A message reaches the endpoints of its tenant, and nobody else's, whatever happened in between.

use std::collections::BTreeSet;

use amoiq_testkit::{BOT_KEY, SECRET_KEY, WIDGET_KEY, eventually, receivers::RecordingReceiver};
use reqwest::Method;
use serde_json::json;

use super::{Given, SESSION, again, is_genuine, register, send, starting, texts};

#[test]
fn a_message_is_delivered_as_the_reference_shows_it_and_signed() {
    let given = Given::new();
    let body = json!({"sessionId": SESSION, "text": "Hello ✓ \"quoted\"", "userId": "user-789"});
    let sent = given.app.post(WIDGET_KEY, "/webchat/message", &body);
    let [request] = &*given.heard(1) else { panic!("one request") };
    assert_eq!(request.path, "/hook");
    assert_eq!(request.header("content-type"), "application/json");
    assert!(request.header("user-agent").starts_with("amoiq/"));
    assert!(is_genuine(request, &given.secret));
    assert!(!is_genuine(request, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "any secret would do");
    let message = &given.app.messages(SECRET_KEY, &format!("sessionId={SESSION}"))[0];
    let (id, time) = (sent.body["messageId"].as_str().expect("an id"), &message["timestamp"]);
    let expected = format!(
        r#"{{"event":"message.created","timestamp":{time},"data":{{"messageId":"{id}","sessionId":"{SESSION}","userId":"user-789","tenantId":"demo","text":"Hello ✓ \"quoted\"","senderType":"user"}}}}"#
    );
    assert_eq!(String::from_utf8_lossy(&request.body), expected);
    let delivered = given.delivery(id, "delivered");
    assert_eq!(delivered["eventId"], request.header("webhook-id"));
    assert_eq!((&delivered["sessionId"], &delivered["nextAttemptAt"]), (&json!(SESSION), &json!(null)));
    let attempts = delivered["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 1);
    assert_eq!((&attempts[0]["status"], &attempts[0]["error"]), (&json!(200), &json!(null)));
}

#[test]
fn messages_of_every_kind_of_sender_are_delivered() {
    let given = Given::new();
    for (credential, text) in [(WIDGET_KEY, "a visitor"), (SECRET_KEY, "an agent"), (BOT_KEY, "a bot")] {
        given.app.say(credential, SESSION, text);
    }
    let data: Vec<_> = given.heard(3).iter().map(|request| request.json()["data"].clone()).collect();
    let kinds: Vec<_> = data.iter().map(|data| data["senderType"].clone()).collect();
    assert_eq!(kinds, ["user", "agent", "bot"], "in the order in which they were said");
    assert_eq!(data[0]["userId"], format!("anonymous-{SESSION}"));
}

#[test]
fn nothing_crosses_to_another_tenant() {
    let tenants = "
        [[tenants]]\nid = 'acme'\nwidget_keys = ['wk_acme_00000']\nsecret_keys = ['sk_acme_00000']
        [[tenants]]\nid = 'bravo'\nwidget_keys = ['wk_bravo_0000']\nsecret_keys = ['sk_bravo_0000']";
    let app = starting().config(tenants).start();
    let (ours, theirs) = (RecordingReceiver::start(), RecordingReceiver::start());
    register(&app, "sk_acme_00000", &json!({"url": ours.url()}));
    register(&app, "sk_bravo_0000", &json!({"url": theirs.url()}));
    // The same session id in both.
    for number in 0..10 {
        app.say("wk_acme_00000", SESSION, &format!("of acme {number}"));
        app.say("wk_bravo_0000", SESSION, &format!("of bravo {number}"));
    }
    for (receiver, tenant) in [(&ours, "acme"), (&theirs, "bravo")] {
        eventually("all is heard", || texts(&receiver.requests()).len() >= 10);
        for request in receiver.requests() {
            assert_eq!(request.json()["data"]["tenantId"], tenant);
            assert!(request.json()["data"]["text"].as_str().expect("a text").contains(tenant));
        }
    }
}

#[test]
fn an_endpoint_receives_what_is_sent_after_it_was_created() {
    let given = Given::new();
    given.say("before the second");
    let second = RecordingReceiver::start();
    register(&given.app, SECRET_KEY, &json!({"url": second.url()}));
    given.say("after it");
    eventually("it hears", || !second.requests().is_empty());
    assert_eq!(texts(&second.requests()), BTreeSet::from(["after it".to_owned()]));
    assert_eq!(texts(&given.heard(2)).len(), 2);
}

#[test]
fn a_moved_endpoint_is_called_at_its_new_address_with_its_new_headers() {
    let given = Given::new();
    let moved = RecordingReceiver::start();
    let change = json!({"url": moved.url(), "headers": {"Authorization": "Bearer of-the-gateway"}});
    assert_eq!(send(&given.app, SECRET_KEY, Method::PATCH, &given.path(""), &change).status, 200);
    given.say("over there");
    eventually("it hears", || !moved.requests().is_empty());
    assert_eq!(moved.requests()[0].header("authorization"), "Bearer of-the-gateway");
    assert!(given.receiver.requests().is_empty());
}

#[test]
fn once_a_change_is_answered_nothing_is_sent_with_the_old_settings() {
    let (app, before, witness) = (starting().start(), RecordingReceiver::start(), RecordingReceiver::start());
    register(&app, SECRET_KEY, &json!({"url": witness.url()}));
    let elsewhere = json!({"url": format!("{}/elsewhere", witness.url())});
    let changes = [
        (Method::PATCH, "", elsewhere),
        (Method::POST, "/pause", json!({})),
        (Method::DELETE, "", json!({})),
    ];
    for round in 0..20 {
        for (number, (method, path, body)) in changes.iter().enumerate() {
            // A new one: its lane is only being started.
            let (id, _) = register(&app, SECRET_KEY, &json!({"url": before.url()}));
            let changed = send(&app, SECRET_KEY, method.clone(), &format!("/api/webhooks/{id}{path}"), body);
            assert!([200, 204].contains(&changed.status), "{changed:?}");
            app.say(WIDGET_KEY, SESSION, "after that");
            let heard = round * 4 + number + 2;
            eventually("it is heard", || witness.requests().len() + before.requests().len() >= heard);
            assert_eq!(before.requests().len(), 0, "{method} {path}");
            send(&app, SECRET_KEY, Method::DELETE, &format!("/api/webhooks/{id}"), &json!({}));
        }
    }
}

#[test]
fn a_pause_loses_nothing() {
    let given = Given::new();
    given.say("before");
    given.heard(1);
    assert_eq!(given.post("/pause", &json!({})).body["status"], "paused");
    let first = given.say("meanwhile");
    given.say("and more");
    // Another endpoint receives both, so this one would have, too.
    let witness = RecordingReceiver::start();
    let (other, _) = register(&given.app, SECRET_KEY, &json!({"url": witness.url()}));
    given.app.post(SECRET_KEY, &format!("/api/webhooks/{other}/replay"), &json!({"from": 0}));
    eventually("the witness hears", || texts(&witness.requests()).len() == 3);
    assert_eq!(given.receiver.requests().len(), 1, "nothing comes while it is paused");
    assert_eq!(given.post("/resume", &json!({})).body["status"], "enabled");
    let heard: Vec<_> = given.heard(3).iter().map(|request| request.json()["data"]["text"].clone()).collect();
    assert_eq!(heard, ["before", "meanwhile", "and more"]);
    given.delivery(&first, "delivered");
    eventually("nothing waits", || given.get("").body["standing"]["pending"] == 0);
}

#[test]
fn a_failed_delivery_is_tried_again_and_keeps_the_first_kibibyte_of_the_answer() {
    let given = Given::new();
    given.receiver.answer(500, &format!("it broke{}", "x".repeat(2_000)));
    let id = given.say("hello");
    eventually("it is tried again", || given.receiver.requests().len() >= 3);
    given.receiver.answer(204, "");
    let delivered = given.delivery(&id, "delivered");
    let attempts = delivered["attempts"].as_array().expect("a list");
    let requests = given.receiver.requests();
    assert_eq!(attempts.len(), requests.len(), "each attempt is listed");
    assert_eq!((&attempts[0]["status"], &attempts[0]["error"]), (&json!(500), &json!("HTTP 500")));
    let answer = attempts[0]["answer"].as_str().expect("a text");
    assert!(answer.starts_with("it broke") && answer.len() == 1_024, "{answer}");
    let ids: BTreeSet<_> = requests.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "a receiver recognises the repeat");
    assert!(requests.iter().all(|request| is_genuine(request, &given.secret)));
}

#[test]
fn a_failed_delivery_is_delivered_after_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = RecordingReceiver::start();
    receiver.answer(503, "");
    let mut app = starting()
        .data(directory.path())
        .environment("AMOIQ__WEBHOOKS__SCHEDULE_MS", "0,100,100,100,100,100,600000")
        .start();
    let (_, secret) = register(&app, SECRET_KEY, &json!({"url": receiver.url()}));
    let ids: Vec<_> =
        (0..5).map(|number| app.say(WIDGET_KEY, SESSION, &format!("number {number}"))).collect();
    eventually("the first is tried", || receiver.requests().len() > 1);
    app.kill();
    receiver.answer(200, "");
    let _again = again(directory.path());
    eventually("all are heard", || texts(&receiver.requests()).len() == ids.len());
    assert!(receiver.requests().iter().all(|request| is_genuine(request, &secret)));
}
