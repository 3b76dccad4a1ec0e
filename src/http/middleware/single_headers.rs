//! Headers that may be sent once. Of two that decide something one would win without a word, and a proxy in front may
//! have looked at the other.
//!
//! The parser itself refuses a second `Host`, `Content-Length` or `Transfer-Encoding`.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::api::problem::Problem;

/// By the names that errors use.
const SINGLE: [&str; 11] = [
    "authorization",
    "content-encoding",
    "content-type",
    "idempotency-key",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
    "upgrade",
    "x-tenant-id",
    "x-website-domain",
    "x-website-origin",
];

/// Refuses a request that says one of them twice.
///
/// # Errors
/// [`Problem::Validation`], which names the header.
pub fn check(headers: &HeaderMap) -> Result<(), Problem> {
    // Hardly a request repeats any header.
    if headers.len() == headers.len_keys() {
        return Ok(());
    }
    let is_repeated = |name: &&'static str| headers.get_all(HeaderName::from_static(name)).nth(1).is_some();
    match SINGLE.into_iter().find(|name| is_repeated(name)) {
        Some(name) => Err(Problem::field(name, "is a header that must be sent once")),
        None => Ok(()),
    }
}
