//! The headers that an endpoint's owner may add to each delivery, for example a token for their gateway.
//!
//! Headers that decide how the request is read, and headers that the signature covers, cannot be set.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// The most headers of an endpoint.
pub const MAX_HEADERS: usize = 32;

/// The most bytes of all their names and values together.
pub const MAX_HEADER_BYTES: usize = 4_096;

/// The beginnings of reserved header names.
const RESERVED_PREFIXES: [&str; 3] = ["webhook-", "content-", "proxy-"];

/// The other reserved headers.
const RESERVED: [&str; 13] = [
    "accept-encoding",
    "connection",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Why a header cannot be added. The value is not shown, because it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookHeaderError {
    /// The service sets this header itself.
    #[error("the header `{0}` is reserved")]
    Reserved(String),
    /// The name or the value is not valid in HTTP.
    #[error("the header `{0}` is not valid")]
    Invalid(String),
    /// There are too many headers, or too many bytes.
    #[error("there are over {MAX_HEADERS} headers, or over {MAX_HEADER_BYTES} bytes of them")]
    TooMany,
}

/// Whether only the service may set this header. The case of the name does not matter.
#[must_use]
pub fn is_reserved_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Reads an endpoint's own headers.
///
/// # Errors
/// The first header that cannot be sent.
pub fn extra_headers(headers: &BTreeMap<String, String>) -> Result<HeaderMap, WebhookHeaderError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(WebhookHeaderError::TooMany);
    }
    let mut extra = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if is_reserved_header(name) {
            return Err(WebhookHeaderError::Reserved(name.clone()));
        }
        let (Ok(parsed), Ok(mut value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
            return Err(WebhookHeaderError::Invalid(name.clone()));
        };
        value.set_sensitive(true);
        extra.insert(parsed, value);
    }
    Ok(extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<HeaderMap, WebhookHeaderError> {
        extra_headers(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn an_owner_may_send_a_token_of_their_own() {
        for name in ["Authorization", "X-Api-Key", "Cookie", "X-Webhook-Id"] {
            let extra = read(name, "a token").unwrap();
            assert_eq!(extra.get(name).unwrap(), "a token");
            assert!(!format!("{extra:?}").contains("token"), "its value is printed: {extra:?}");
        }
    }

    #[test]
    fn what_the_service_sets_is_reserved_in_any_case() {
        for name in ["Webhook-Id", "webhook-signature", "HOST", "Content-Length", "Content-Type", "te"] {
            assert_eq!(read(name, "x"), Err(WebhookHeaderError::Reserved(name.to_owned())));
        }
        for name in ["Transfer-Encoding", "connection", "User-Agent", "Proxy-Authorization", "Expect"] {
            assert_eq!(read(name, "x"), Err(WebhookHeaderError::Reserved(name.to_owned())));
        }
    }

    #[test]
    fn no_value_reaches_into_the_next_line() {
        for (name, value) in [("x-a", "1\r\nhost: b"), ("x-a", "1\n"), ("x-a", "\0"), ("x a", "1"), ("", "1")]
        {
            assert_eq!(read(name, value), Err(WebhookHeaderError::Invalid(name.to_owned())));
        }
    }

    #[test]
    fn there_is_an_end_to_them() {
        assert_eq!(read("x-long", &"a".repeat(MAX_HEADER_BYTES)), Err(WebhookHeaderError::TooMany));
        let many = (0..=MAX_HEADERS).map(|number| (format!("x-{number}"), String::new())).collect();
        assert_eq!(extra_headers(&many), Err(WebhookHeaderError::TooMany));
    }
}
