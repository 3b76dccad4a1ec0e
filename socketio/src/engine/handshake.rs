//! What a client said when it opened its connection.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header::HeaderName};

/// What a client said when it opened its connection. The client chooses all of it except its address.
#[derive(Debug, Clone)]
pub struct ClientHandshake {
    /// The query string: the application's own values come before the protocol's.
    pub query: Box<str>,
    /// The address of the client, as [`super::ClientAddress`] determined it.
    pub client: IpAddr,
    headers: Box<[(HeaderName, Box<[u8]>)]>,
}

impl ClientHandshake {
    pub(super) fn new(request: &HttpRequest, client: IpAddr, kept_headers: &[&str]) -> Self {
        let kept = request.headers().iter().filter(|(name, _)| kept_headers.contains(&name.as_str()));
        let headers = kept.map(|(name, value)| (name.clone(), value.as_bytes().into()));
        Self { query: request.query_string().into(), client, headers: headers.collect() }
    }

    /// The first value of a name in the query.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The first text of a header whose name is in lower case; only [`super::EngineSettings::kept_headers`] are kept.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut texts = self.values(name).filter_map(|value| str::from_utf8(value).ok());
        texts.next()
    }

    /// Whether the request had a header, whatever its value.
    #[must_use]
    pub fn has_header(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(key, _)| key.as_str() == name).map(|(_, value)| &**value)
    }
}
