//! An endpoint as its owner sees it: registered and read over the management API.

use std::path::Path;

use amoiq_testkit::{ApiResponse, AppLauncher, TestApp, eventually, receivers::VerifyingReceiver};
use reqwest::Method;
use serde_json::{Value, json};

/// The program on a directory, with settings of `[webhooks]` and more lines of the file. It may deliver to this
/// machine, and has short waits.
pub fn start(data: &Path, settings: &str, rest: &str) -> TestApp {
    let config =
        format!("[webhooks]\nallowed_networks = [\"127.0.0.0/8\"]\njitter_percent = 0\n{settings}\n\n{rest}");
    AppLauncher::new()
        .data(data)
        .config(&config)
        .environment("AMOIQ__OPERATOR__BIND", "127.0.0.1:0")
        .environment("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0")
        .start()
}

/// An endpoint of a tenant.
pub struct Endpoint {
    pub id: String,
    key: String,
}

impl Endpoint {
    /// Registers an endpoint with a URL. Returns its secret, too.
    pub fn make(app: &TestApp, key: &str, url: &str) -> (Self, String) {
        let answer = app.post(key, "/api/webhooks", &json!({ "url": url }));
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |name: &str| answer.body[name].as_str().expect(name).to_owned();
        (Self { id: text("id"), key: key.to_owned() }, text("secret"))
    }

    /// Registers an endpoint that delivers to a mailbox.
    pub fn of(app: &TestApp, key: &str, mailbox: &VerifyingReceiver) -> Self {
        let (endpoint, secret) = Self::make(app, key, &mailbox.url());
        mailbox.trust(&secret);
        endpoint
    }

    /// The endpoint with its status.
    pub fn read(&self, app: &TestApp) -> Value {
        let path = format!("/api/webhooks/{}", self.id);
        let answer = ApiResponse::to(app.request(Method::GET, &path).bearer_auth(&self.key));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Its newest deliveries.
    pub fn deliveries(&self, app: &TestApp) -> Vec<Value> {
        let answer = app.get(&self.key, &format!("/api/webhooks/{}/deliveries", self.id));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["deliveries"].as_array().expect("a list").clone()
    }

    /// Waits until nothing is being sent and nothing waits.
    pub fn settles(&self, app: &TestApp) {
        eventually("the endpoint has nothing left to do", || {
            let standing = &self.read(app)["standing"];
            standing["pending"] == 0 && standing["inFlight"] == 0
        });
    }
}
