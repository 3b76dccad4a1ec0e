//! A request over plain HTTP, and the answer as a test looks at it.

use reqwest::{
    blocking::{Client, RequestBuilder},
    header::HeaderMap,
};
use serde_json::Value;

use crate::PATIENCE;

/// A client for plain HTTP. It trusts no certificate, and reqwest still asks whose cryptography to use.
#[must_use]
pub fn http_client() -> Client {
    // An error means that another test was faster.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([]).build().expect("a client")
}

/// What the service answered.
#[derive(Debug)]
pub struct ApiResponse {
    /// The status of HTTP.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body; `null` when it is not JSON.
    pub body: Value,
}

impl ApiResponse {
    /// Sends a request and reads the whole answer.
    pub fn to(request: RequestBuilder) -> Self {
        let response = request.send().expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().expect("a body");
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    /// A header of the answer; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The status and the code of an error.
    #[must_use]
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }
}
