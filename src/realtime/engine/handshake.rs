//! What a client said when it opened its connection.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header::HeaderName};

use crate::access::forwarded;

/// The headers that are kept: a connection lives for hours, its request's other headers need not.
const KEPT_HEADERS: [&str; 5] = ["authorization", "origin", "referer", "x-tenant-id", "x-website-origin"];

/// What a client said when it opened its connection. All of it is the client's own word.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The query string: the client's own values come before the protocol's.
    pub query: Box<str>,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// Whether a proxy passed it on (`X-Forwarded-For`, `Forwarded`).
    pub is_forwarded: bool,
    headers: Box<[(HeaderName, Box<str>)]>,
}

impl Handshake {
    pub(super) fn of(request: &HttpRequest, client: IpAddr) -> Self {
        let kept = request.headers().iter().filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str()));
        let headers = kept.filter_map(|(name, value)| {
            let text = str::from_utf8(value.as_bytes()).ok()?;
            Some((name.clone(), text.into()))
        });
        Self {
            query: request.query_string().into(),
            client,
            is_forwarded: forwarded::is_forwarded(request.headers()),
            headers: headers.collect(),
        }
    }

    /// The first value of a name in the query.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// A header, in lower case; only those that a connection keeps.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| &**value)
    }
}
