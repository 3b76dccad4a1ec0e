//! Endpoints are created, shown, changed, paused and tested over HTTP.

use std::time::Duration;

use amoiq_testkit::{ApiResponse, SECRET_KEY, eventually, receivers::RecordingReceiver};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Given, register, send, starting};

#[test]
fn an_endpoint_is_shown_as_it_was_created() {
    let app = starting().start();
    let wanted = json!({
        "url": "https://hooks.example.com/a?b=c", "events": ["message.created"], "description": "ours ✓",
        "headers": {"X-Token": "abc"}, "ratePerSecond": 5, "tenantId": "demo", "unknown": 1
    });
    let made = app.post(SECRET_KEY, "/api/webhooks", &wanted);
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().expect("an id");
    assert!(id.starts_with("wh-"));
    assert_eq!(made.header("location"), format!("/api/webhooks/{id}"));
    assert!(made.body["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    let mut expected = json!({
        "id": id, "url": "https://hooks.example.com/a?b=c", "events": ["message.created"],
        "description": "ours ✓", "headers": {"X-Token": "abc"}, "ratePerSecond": 5, "status": "enabled",
        "disabledReason": null, "source": "api", "createdAt": made.body["createdAt"]
    });
    assert_eq!(app.get(SECRET_KEY, "/api/webhooks").body, json!({"webhooks": [expected]}));
    let mut shown = app.get(SECRET_KEY, made.header("location")).body;
    let standing = shown.as_object_mut().and_then(|shown| shown.remove("standing")).expect("a standing");
    assert_eq!(shown, expected);
    let names: Vec<_> = standing.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(names, ["failingSince", "inFlight", "lagEvents", "notBefore", "pending", "refused"]);
    let fields = expected.as_object_mut().expect("an object");
    fields.insert("secret".to_owned(), made.body["secret"].clone());
    assert_eq!(made.body, expected);
}

#[test]
fn an_endpoint_needs_a_url_and_nothing_else() {
    let app = starting().start();
    let made = app.post(SECRET_KEY, "/api/webhooks", &json!({"url": "https://example.com"})).body;
    assert_eq!(
        (&made["url"], &made["events"]),
        (&json!("https://example.com/"), &json!(["message.created"]))
    );
    let absent = (&made["description"], &made["headers"], &made["ratePerSecond"]);
    assert_eq!(absent, (&Value::Null, &json!({}), &Value::Null));
}

#[test]
fn a_change_affects_what_it_names_and_null_restores_the_default() {
    let app = starting().start();
    let wanted = json!({"url": "https://example.com/a", "description": "d", "headers": {"a": "b"}, "ratePerSecond": 9});
    let (id, _) = register(&app, SECRET_KEY, &wanted);
    let change = |body: Value| -> ApiResponse {
        send(&app, SECRET_KEY, Method::PATCH, &format!("/api/webhooks/{id}"), &body)
    };
    let shown = |answer: &ApiResponse| {
        assert_eq!(answer.status, 200, "{answer:?}");
        ["url", "description", "headers", "ratePerSecond"].map(|name| answer.body[name].clone())
    };
    let url = json!("https://example.com/a");
    let nothing = change(json!({}));
    assert_eq!(shown(&nothing), [url.clone(), json!("d"), json!({"a": "b"}), json!(9)]);
    let rate = change(json!({"ratePerSecond": 1}));
    assert_eq!(shown(&rate), [url.clone(), json!("d"), json!({"a": "b"}), json!(1)]);
    let cleared =
        change(json!({"description": null, "headers": null, "ratePerSecond": null, "events": null}));
    assert_eq!(shown(&cleared), [url, Value::Null, json!({}), Value::Null]);
    let moved = change(json!({"url": "https://example.com/b"}));
    assert_eq!(shown(&moved)[0], "https://example.com/b");
    let bad = change(json!({"url": null}));
    assert!(bad.body["details"]["fields"]["url"].is_string(), "{bad:?}");
    assert_eq!(app.get(SECRET_KEY, &format!("/api/webhooks/{id}")).body["url"], "https://example.com/b");
}

#[test]
fn concurrent_changes_are_all_kept() {
    let app = starting().start();
    let (id, _) = register(&app, SECRET_KEY, &json!({"url": "https://example.com/a"}));
    let path = format!("/api/webhooks/{id}");
    let changes = [
        json!({"description": "d"}),
        json!({"headers": {"a": "b"}}),
        json!({"ratePerSecond": 9}),
        json!({"url": "https://example.com/b"}),
    ];
    std::thread::scope(|scope| {
        for change in &changes {
            let (app, path) = (&app, &path);
            scope.spawn(move || {
                let answer = send(app, SECRET_KEY, Method::PATCH, path, change);
                assert_eq!(answer.status, 200, "{answer:?}");
            });
        }
    });
    let shown = app.get(SECRET_KEY, &path).body;
    let held = ["description", "headers", "ratePerSecond", "url"].map(|name| shown[name].clone());
    assert_eq!(held, [json!("d"), json!({"a": "b"}), json!(9), json!("https://example.com/b")]);
}

#[test]
fn a_new_endpoint_answers_everything_at_once() {
    let app = starting().start();
    for _ in 0..20 {
        let (id, _) = register(&app, SECRET_KEY, &json!({"url": "https://example.com"}));
        let get = |rest: &str| app.get(SECRET_KEY, &format!("/api/webhooks/{id}{rest}"));
        let page = get("/deliveries");
        assert_eq!((page.status, &page.body["deliveries"]), (200, &json!([])), "{page:?}");
        assert_eq!(get("").body["standing"]["pending"], 0);
        assert_eq!(get("/replay").error(), (404, "NOT_FOUND"));
    }
}

#[test]
fn a_tenant_creates_as_many_endpoints_as_it_may() {
    let app = starting().environment("AMOIQ__WEBHOOKS__ENDPOINTS_PER_TENANT", "3").start();
    let wanted = json!({"url": "https://example.com"});
    let make = || app.post(SECRET_KEY, "/api/webhooks", &wanted);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..6).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().expect("an answer").status).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3, "{statuses:?}");
    let one_more = make();
    assert_eq!(one_more.error(), (409, "WEBHOOK_LIMIT_REACHED"));
    assert_eq!(one_more.body["details"]["limit"], 3);
    let listed = app.get(SECRET_KEY, "/api/webhooks").body["webhooks"].clone();
    let id = listed[0]["id"].as_str().expect("an id");
    send(&app, SECRET_KEY, Method::DELETE, &format!("/api/webhooks/{id}"), &json!({}));
    assert_eq!(make().status, 201, "one that was deleted makes room");
}

#[test]
fn a_test_is_signed_and_shows_the_answer() {
    let given = Given::new();
    let passed = given.post("/test", &json!({}));
    assert_eq!(passed.status, 200, "{passed:?}");
    assert_eq!((&passed.body["success"], &passed.body["status"]), (&json!(true), &json!(200)));
    assert_eq!((&passed.body["error"], &passed.body["answer"]), (&Value::Null, &Value::Null));
    assert!(passed.body["durationMs"].is_u64());
    let [request] = &*given.heard(1) else { panic!("one request") };
    assert!(super::is_genuine(request, &given.secret));
    assert_eq!(request.json()["event"], "webhook.test");
    assert_eq!(request.json()["data"], json!({"webhookId": given.id, "tenantId": "demo"}));
    given.post("/pause", &json!({}));
    given.receiver.answer(422, "not like this");
    let failed = given.post("/test", &json!({})).body;
    assert_eq!((&failed["success"], &failed["status"]), (&json!(false), &json!(422)));
    assert_eq!((&failed["error"], &failed["answer"]), (&json!("HTTP 422"), &json!("not like this")));
    assert_eq!(given.get("/deliveries").body["deliveries"], json!([]), "a test is no delivery");
}

#[test]
fn a_test_of_an_endpoint_where_nobody_listens_says_so() {
    let app = starting().start();
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
    let (id, _) = register(&app, SECRET_KEY, &json!({"url": format!("http://127.0.0.1:{port}")}));
    let tested = app.post(SECRET_KEY, &format!("/api/webhooks/{id}/test"), &json!({})).body;
    let told = (&tested["success"], &tested["status"], &tested["error"]);
    assert_eq!(told, (&json!(false), &Value::Null, &json!("connection refused")));
}

#[test]
fn tests_that_hang_leave_room_for_deliveries() {
    let app = starting().environment("AMOIQ__WEBHOOKS__IN_FLIGHT", "16").start();
    let (hangs, works) = (RecordingReceiver::start(), RecordingReceiver::start());
    hangs.hang();
    let (id, _) = register(&app, SECRET_KEY, &json!({"url": hangs.url()}));
    register(&app, SECRET_KEY, &json!({"url": works.url()}));
    std::thread::scope(|scope| {
        let path = format!("/api/webhooks/{id}/test");
        scope.spawn({
            let (app, path) = (&app, path.clone());
            move || app.post(SECRET_KEY, &path, &json!({}))
        });
        eventually("the test hangs", || hangs.requests().len() == 1);
        let second = app.post(SECRET_KEY, &path, &json!({}));
        assert_eq!(second.error(), (503, "OVERLOADED"), "{second:?}");
        app.say(amoiq_testkit::WIDGET_KEY, super::SESSION, "hello");
        eventually("the other endpoint hears", || works.requests().len() == 1);
        hangs.answer(200, "");
        hangs.release();
    });
}

#[test]
fn pausing_and_resuming_twice_changes_nothing() {
    let given = Given::new();
    for (action, status) in
        [("/pause", "paused"), ("/pause", "paused"), ("/resume", "enabled"), ("/resume", "enabled")]
    {
        let answer = given.post(action, &json!({}));
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!(status)), "{action}: {answer:?}");
    }
    let bare =
        ApiResponse::to(given.app.request(Method::POST, &given.path("/pause")).bearer_auth(SECRET_KEY));
    assert_eq!(bare.body["status"], "paused", "a body is not needed: {bare:?}");
}

#[test]
fn an_abandoned_test_keeps_its_permit_until_it_ends_and_other_tenants_keep_theirs() {
    let config = "
[[tenants]]
id = 'acme'
secret_keys = ['sk_acme_00000']
[[tenants]]
id = 'bravo'
secret_keys = ['sk_bravo_0000']
";
    let (app, receiver, other) =
        (starting().config(config).start(), RecordingReceiver::start(), RecordingReceiver::start());
    let (id, _) = register(&app, "sk_acme_00000", &json!({"url": receiver.url()}));
    let path = format!("/api/webhooks/{id}/test");
    receiver.hang();
    for number in 1..=4 {
        let asking =
            app.request(Method::POST, &path).bearer_auth("sk_acme_00000").timeout(Duration::from_millis(500));
        assert!(asking.json(&json!({})).send().is_err(), "nobody answers");
        assert_eq!(receiver.requests().len(), number);
    }
    let refused = app.post("sk_acme_00000", &path, &json!({}));
    assert_eq!(refused.error(), (503, "OVERLOADED"), "{refused:?}");
    let (bravos, _) = register(&app, "sk_bravo_0000", &json!({"url": other.url()}));
    assert_eq!(app.post("sk_bravo_0000", &format!("/api/webhooks/{bravos}/test"), &json!({})).status, 200);
    receiver.answer(200, "");
    receiver.release();
    eventually("places are free again", || app.post("sk_acme_00000", &path, &json!({})).status == 200);
}
