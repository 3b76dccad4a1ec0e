//! Requests to the operator interface of a running service.

use std::{fs, net::SocketAddr, sync::OnceLock};

use reqwest::{
    Method,
    blocking::{Client, RequestBuilder},
};
use serde_json::Value;

use crate::{ApiResponse, TestApp, http_client};

/// Where the operator interface listens, and the token that it asks for.
pub struct OperatorClient {
    /// `http://127.0.0.1:PORT`
    pub address: String,
    /// The bearer token of this start.
    pub token: String,
    /// Made by the first request: a blocking client cannot be made or dropped in asynchronous code, which may still want
    /// the address and the token.
    client: OnceLock<Client>,
}

impl OperatorClient {
    /// As `operator.json` of the running service says.
    #[must_use]
    pub fn of(app: &TestApp) -> Self {
        let text = fs::read(app.data().join("operator.json")).expect("the file exists");
        let access: Value = serde_json::from_slice(&text).expect("JSON");
        let field = |name: &str| access[name].as_str().expect("a text").to_owned();
        Self { address: field("operator"), token: field("token"), client: OnceLock::new() }
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn socket_address(&self) -> SocketAddr {
        let address = self.address.strip_prefix("http://").expect("an address");
        address.parse().expect("an address")
    }

    /// A request with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_without_token(method, path).bearer_auth(&self.token)
    }

    /// A request without it.
    pub fn request_without_token(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.get_or_init(http_client).request(method, format!("{}{path}", self.address))
    }

    /// Sends a request with the token.
    pub fn send(&self, method: Method, path: &str, body: Option<&Value>) -> ApiResponse {
        let request = self.request(method, path);
        ApiResponse::to(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }
}
