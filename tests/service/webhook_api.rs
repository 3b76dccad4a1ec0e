//! Webhooks through the public interface: endpoints that are managed over HTTP, and real receivers that get messages.

use std::{collections::BTreeSet, path::Path};

use amoiq_testkit::{
    ApiResponse, AppLauncher, SECRET_KEY, TestApp, WIDGET_KEY, eventually,
    receivers::{ReceivedRequest, RecordingReceiver},
};
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

mod configured;
mod delivery;
mod endings;
mod fields;
mod management;
mod pages;
mod refusals;
mod repeats;
mod rights;
mod secrets;

const SESSION: &str = "session-of-webhooks-1";

/// Receivers on this machine are allowed, and failed deliveries are tried again soon.
fn starting() -> AppLauncher {
    AppLauncher::new()
        .environment("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8")
        .environment("AMOIQ__WEBHOOKS__SCHEDULE_MS", "0,50,100,100,100,100,100,100,100,100,100,100")
        .environment("AMOIQ__WEBHOOKS__BREAKER_MIN_MS", "20")
        .environment("AMOIQ__WEBHOOKS__BREAKER_MAX_MS", "100")
}

/// A service and one endpoint of the demo tenant, created by API.
struct Given {
    app: TestApp,
    receiver: RecordingReceiver,
    id: String,
    secret: String,
}

impl Given {
    fn new() -> Self {
        let (app, receiver) = (starting().start(), RecordingReceiver::start());
        let (id, secret) = register(&app, SECRET_KEY, &json!({"url": receiver.url()}));
        Self { app, receiver, id, secret }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/webhooks/{}{rest}", self.id)
    }

    fn post(&self, rest: &str, body: &Value) -> ApiResponse {
        self.app.post(SECRET_KEY, &self.path(rest), body)
    }

    fn get(&self, rest: &str) -> ApiResponse {
        self.app.get(SECRET_KEY, &self.path(rest))
    }

    fn status(&self) -> Value {
        self.get("").body["status"].clone()
    }

    /// Sends a message. Returns its id.
    fn say(&self, text: &str) -> String {
        self.app.say(WIDGET_KEY, SESSION, text)
    }

    /// Waits for this number of requests.
    fn heard(&self, count: usize) -> Vec<ReceivedRequest> {
        eventually("requests come", || self.receiver.requests().len() >= count);
        let requests = self.receiver.requests();
        assert_eq!(requests.len(), count, "{requests:?}");
        requests
    }

    /// Waits until a delivery has a status, and returns it.
    fn delivery(&self, message: &str, status: &str) -> Value {
        let find = || {
            let listed = self.get("/deliveries").body["deliveries"].clone();
            let mut found = listed.as_array().cloned().unwrap_or_default().into_iter();
            found.find(|one| one["messageId"] == message && one["status"] == status)
        };
        eventually(&format!("{message} is {status}"), || find().is_some());
        find().expect("it was there")
    }
}

/// Creates an endpoint. Returns its id and its secret.
fn register(app: &TestApp, credential: &str, wanted: &Value) -> (String, String) {
    let answer = app.post(credential, "/api/webhooks", wanted);
    assert_eq!(answer.status, 201, "{answer:?}");
    let text = |name: &str| answer.body[name].as_str().expect(name).to_owned();
    (text("id"), text("secret"))
}

fn send(app: &TestApp, credential: &str, method: Method, path: &str, body: &Value) -> ApiResponse {
    ApiResponse::to(app.request(method, path).bearer_auth(credential).json(body))
}

/// Whether a published library verifies a request.
fn is_genuine(request: &ReceivedRequest, secret: &str) -> bool {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = HeaderValue::from_str(request.header(name)).expect("ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
    let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
    webhook.verify(&request.body, &headers).is_ok()
}

/// The texts of the messages that a receiver got, each once.
fn texts(requests: &[ReceivedRequest]) -> BTreeSet<String> {
    let text =
        |request: &ReceivedRequest| request.json()["data"]["text"].as_str().unwrap_or_default().to_owned();
    requests.iter().map(text).collect()
}

/// The service again, on the directory of one that ended.
fn again(data: &Path) -> TestApp {
    starting().data(data).start()
}
