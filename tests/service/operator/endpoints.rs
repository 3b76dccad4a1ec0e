//! The rules for operators' endpoints: the same as for those that are created by API.

use amoiq_testkit::{ApiResponse, AppLauncher, OperatorClient, TestApp, cli};
use reqwest::Method;
use serde_json::{Value, json};

const ROUTE: &str = "/operator/tenants/acme/webhooks";

/// A service with the tenant `acme`, and its operator's interface.
struct Given {
    app: TestApp,
    door: OperatorClient,
}

impl Given {
    fn new(start: AppLauncher) -> Self {
        let app = start.start();
        cli::json_of(app.data(), &["tenant", "create", "acme"]);
        Self { door: OperatorClient::of(&app), app }
    }

    fn create(&self, wanted: &Value) -> ApiResponse {
        self.door.send(Method::POST, ROUTE, Some(wanted))
    }

    fn made(&self, wanted: &Value) -> Value {
        let answer = self.create(wanted);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body
    }

    fn change(&self, made: &Value, wanted: &Value) -> ApiResponse {
        let id = made["id"].as_str().expect("an id");
        self.door.send(Method::PATCH, &format!("{ROUTE}/{id}"), Some(wanted))
    }

    fn only(&self) -> Value {
        let listed = self.door.send(Method::GET, ROUTE, None).body["webhooks"].clone();
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        listed[0].clone()
    }
}

/// The settings of an endpoint that its operator changes.
fn settings(shown: &Value) -> [Value; 5] {
    ["url", "events", "description", "headers", "ratePerSecond"].map(|name| shown[name].clone())
}

#[test]
fn a_bad_field_is_named_and_nothing_is_created_or_changed() {
    let given = Given::new(AppLauncher::new());
    let made = given.made(&json!({"url": "https://acme.example/hook"}));
    for (field, value, word) in [
        ("url", json!("http://10.0.0.1/"), "webhooks.allowed_networks"),
        ("url", json!("http://2130706433/"), "webhooks.allowed_networks"),
        ("url", json!("https://me@acme.example"), "user or a password"),
        ("ratePerSecond", json!(0), "1 to 1000"),
        ("ratePerSecond", json!(1_001), "1 to 1000"),
        ("description", json!("x".repeat(1_001)), "at most 1000"),
        ("events", json!(["message.deleted"]), "message.created"),
        ("headers", json!({"host": "b"}), "reserved"),
    ] {
        let mut body = json!({"url": "https://acme.example/other"});
        body[field] = value;
        for answer in [given.create(&body), given.change(&made, &body)] {
            assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{body}: {answer:?}");
            let reason = answer.body["details"]["fields"][field].as_str().unwrap_or_default();
            assert!(reason.contains(word), "{field}: `{reason}` does not say `{word}`");
        }
    }
    assert_eq!(given.only()["url"], "https://acme.example/hook");
}

#[test]
fn an_endpoint_is_kept_as_the_api_keeps_it() {
    let given = Given::new(AppLauncher::new());
    let wanted = json!({
        "url": "HTTPS://Acme.Example", "description": "é".repeat(1_000), "headers": {"X-Token": "hush"},
        "events": ["message.created"], "ratePerSecond": 1_000
    });
    let made = given.made(&wanted);
    let id = made["id"].as_str().and_then(|id| id.strip_prefix("wh-")).expect("an id");
    assert!(id.len() == 36 && id.as_bytes()[14] == b'7', "{id} is no UUIDv7");
    let url = json!("https://acme.example/");
    let events = json!(["message.created"]);
    let kept = [url.clone(), events.clone(), wanted["description"].clone(), json!(["X-Token"]), json!(1_000)];
    assert_eq!(settings(&made), kept, "the values of headers may be secrets");
    let nulls = json!({"description": null, "headers": null, "ratePerSecond": null, "events": null});
    let cleared = given.change(&made, &nulls);
    assert_eq!(settings(&cleared.body), [url, events, Value::Null, json!([]), Value::Null]);
    let bad = given.change(&made, &json!({"url": null}));
    assert!(bad.body["details"]["fields"]["url"].is_string(), "{bad:?}");
}

#[test]
fn concurrent_changes_are_all_kept() {
    let given = Given::new(AppLauncher::new());
    let made = given.made(&json!({"url": "https://acme.example/a"}));
    for round in 1..=10 {
        let changes = [
            json!({"description": format!("d{round}")}),
            json!({"headers": {format!("a{round}"): "b"}}),
            json!({"ratePerSecond": round}),
            json!({"url": format!("https://acme.example/{round}")}),
        ];
        std::thread::scope(|scope| {
            for change in &changes {
                let (given, made) = (&given, &made);
                scope.spawn(move || {
                    let answer = given.change(made, change);
                    assert_eq!(answer.status, 200, "{answer:?}");
                });
            }
        });
        let [url, _, description, headers, rate] = settings(&given.only());
        assert_eq!((url, rate), (changes[3]["url"].clone(), json!(round)));
        assert_eq!((description, headers), (json!(format!("d{round}")), json!([format!("a{round}")])));
    }
}

#[test]
fn operators_create_as_many_endpoints_as_they_want() {
    let given = Given::new(AppLauncher::new().environment("AMOIQ__WEBHOOKS__ENDPOINTS_PER_TENANT", "1"));
    for _ in 0..3 {
        given.made(&json!({"url": "https://acme.example/hook"}));
    }
    let key = cli::json_of(given.app.data(), &["key", "create", "--kind", "secret", "--tenant", "acme"]);
    let key = key["key"].as_str().expect("a key");
    let by_api = |status: u16| {
        let answer = given.app.post(key, "/api/webhooks", &json!({"url": "https://acme.example/hook"}));
        assert_eq!(answer.status, status, "{answer:?}");
    };
    by_api(201);
    by_api(409);
}
