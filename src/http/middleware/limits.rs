//! Refuses a request that says something twice, recognises its caller and counts it, before anything else is done for it.

use std::rc::Rc;

use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
};
use amoiq_events::{Ambient, Timestamp};

use super::trace::RequestId;
use crate::{
    access::{
        auth::{self, Authenticator, CredentialUse},
        forwarded::TrustedProxies,
        rate_limit::{RateAllowance, RequestLimiter},
    },
    api::problem::Problem,
    http::authenticated::{RequestContext, provided},
};

/// The routes that are counted; health and sockets are not.
const COUNTED_PATHS: [&str; 2] = ["/webchat/", "/api/"];

/// Headers that may be sent only once, by the names that errors use. Of two that decide something, one would silently win,
/// and a proxy in front may have checked the other. The parser itself refuses a second `Host`, `Content-Length`
/// or `Transfer-Encoding`.
const SINGLE_HEADERS: [&str; 11] = [
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

/// Recognises the caller and counts the request.
///
/// # Errors
/// Those of the inner service; a request over the limit is answered, which is no error.
pub async fn limits<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Err(problem) = check_single_headers(request.headers()) {
        return Ok(request.into_response(problem.error_response()));
    }
    // The path as the router reads it: `/%61pi/` is `/api/`.
    let path = request.match_info().as_str();
    let is_counted = COUNTED_PATHS.iter().any(|prefix| path.starts_with(prefix));
    if !is_counted {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let ambient = provided::<Ambient>(request.request())?.clone();
    let mut context = context(&request)?;
    let allowance = provided::<RequestLimiter>(request.request())?
        .count(context.credential.as_ref().ok(), context.client);
    let allowed = allowance.as_ref().map_or(Ok(()), RateAllowance::check);
    if allowed.is_ok()
        && let Err(refused) = context.credential
    {
        // Only what is within the limits may ask the log.
        let authenticator = provided::<Authenticator>(request.request())?;
        context.credential =
            authenticator.recognise_again(bearer_of(&request), CredentialUse::Http, refused).await;
    }
    request.extensions_mut().insert(Rc::new(context));
    let mut response = match allowed {
        Err(exceeded) => request.into_response(exceeded.error_response()),
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
    };
    if let Some(allowance) = allowance {
        show(response.headers_mut(), &allowance, ambient.now());
    }
    Ok(response)
}

/// Refuses a request that repeats a header that may be sent once.
///
/// # Errors
/// [`Problem::Validation`], which names the header.
pub fn check_single_headers(headers: &HeaderMap) -> Result<(), Problem> {
    // Hardly a request repeats any header.
    if headers.len() == headers.len_keys() {
        return Ok(());
    }
    let is_repeated = |name: &&'static str| headers.get_all(HeaderName::from_static(name)).nth(1).is_some();
    match SINGLE_HEADERS.into_iter().find(|name| is_repeated(name)) {
        Some(name) => Err(Problem::field(name, "is a header that must be sent once")),
        None => Ok(()),
    }
}

fn bearer_of(request: &ServiceRequest) -> Option<&str> {
    let header = request.headers().get(header::AUTHORIZATION)?;
    auth::bearer(header.to_str().ok()?)
}

fn context(request: &ServiceRequest) -> Result<RequestContext, Problem> {
    let http = request.request();
    let request_id = request.extensions().get::<RequestId>().map(|id| Rc::clone(&id.0));
    Ok(RequestContext {
        request_id: request_id.unwrap_or_default(),
        client: provided::<TrustedProxies>(http)?.client_of(http),
        credential: provided::<Authenticator>(http)?.credential(bearer_of(request), CredentialUse::Http),
    })
}

/// The monotonic clock decides when the window ends; the end is only shown as a time of day.
fn show(headers: &mut HeaderMap, allowance: &RateAllowance, now: Timestamp) {
    let reset = (now + allowance.resets_in).as_millis().unsigned_abs().div_ceil(1_000);
    let told = [
        ("x-ratelimit-limit", u64::from(allowance.limit)),
        ("x-ratelimit-remaining", u64::from(allowance.remaining)),
        ("x-ratelimit-reset", reset),
    ];
    for (name, value) in told {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}

#[cfg(test)]
mod tests;
