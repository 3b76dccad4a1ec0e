//! CORS: which pages may read the answers. All pages may: a request is judged by its credential and by the tenant's origins,
//! and an error that a page cannot read helps nobody.
//!
//! Pages may send cookies to the socket path only: some clients (socket.io-client 2 always, later ones with
//! `withCredentials`) send requests whose answers browsers show only then. No path reads a cookie.
//!
//! Preflights are answered here, for every route and without authentication.

use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{self, HeaderMap, HeaderValue},
    },
    middleware::Next,
};

/// What pages may send. `*` would not cover `Authorization`.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, Traceparent, X-Request-Id, X-Tenant-ID, \
     X-Website-Domain, X-Website-Origin",
);

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, DELETE, OPTIONS");

/// What pages may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id",
);

/// Where the browser's own credentials, which are cookies, may be sent.
const WITH_CREDENTIALS: [&str; 2] = ["/socket.io/", "/socket.io"];

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// How long a browser may remember the answer, in seconds: the longest time that browsers accept.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Answers preflights and lets pages read the other answers.
///
/// # Errors
/// Those of the inner service.
pub async fn cors<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let with_credentials = WITH_CREDENTIALS.contains(&request.path());
    let mut response = if request.method() == Method::OPTIONS {
        let mut preflight = HttpResponse::NoContent().finish();
        let headers = preflight.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        request.into_response(preflight)
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    allow(response.headers_mut(), origin, with_credentials);
    Ok(response)
}

fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>, with_credentials: bool) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        if with_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }
}
