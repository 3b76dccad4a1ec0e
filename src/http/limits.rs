//! Recognises the caller of a request and counts it, before anything else is done for it.

use std::{net::IpAddr, rc::Rc, sync::atomic::AtomicU64};

use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    web,
};
use amoiq_events::{Ambient, Timestamp, tenant::KeyKind};
use tokio::time::Instant;

use super::{
    access::Policy,
    context::{self, Context},
    single,
    trace::RequestId,
};
use crate::{
    access::auth::{Authenticator, Credential},
    access::forwarded::TrustedProxies,
    access::rate_limit::{Allowance, Counted, RateLimiter},
    api::problem::Problem,
    config,
    realtime::chat::metering::SocketCounts,
};

/// The routes that are counted; health and sockets are not.
const COUNTED_PATHS: [&str; 2] = ["/webchat/", "/api/"];

/// What counting needs.
pub struct Gate {
    /// Recognises credentials.
    pub authenticator: Authenticator,
    /// Requests.
    pub requests: RateLimiter,
    /// Sessions asked for that do not exist.
    pub misses: RateLimiter,
    /// Messages of a socket that were too many for it; sockets count them.
    pub refused_messages: AtomicU64,
    /// What all sockets of a client do together.
    pub sockets: SocketCounts,
    /// How often.
    pub limits: config::RateLimitConfig,
    /// What public credentials may.
    pub policy: Policy,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
    /// Time.
    pub ambient: Ambient,
}

impl Gate {
    fn context(&self, request: &ServiceRequest) -> Context {
        let head = request.request();
        let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
        Context {
            request_id: request_id.unwrap_or_default(),
            client: self.proxies.client_of(head),
            credential: self.authenticator.credential(context::bearer(head)),
        }
    }

    fn count(&self, context: &Context) -> Option<Allowance> {
        let (counted, limit) = match &context.credential {
            Ok(Credential::Key { id, kind: KeyKind::Secret | KeyKind::Bot, .. }) => {
                (Counted::Key(id.clone()), self.limits.secret_key_per_minute)
            }
            _ => (Counted::address(context.client), self.limits.http_per_minute),
        };
        self.requests.count(&counted, limit, Instant::now())
    }

    /// The limit of misses: guessing session ids is not free.
    fn misses_limit(&self) -> u32 {
        if self.limits.http_per_minute == 0 { 0 } else { self.limits.session_misses_per_minute }
    }

    /// Refuses a client who asked for too many sessions that do not exist.
    ///
    /// # Errors
    /// [`Problem::RateLimited`].
    pub fn check_misses(&self, client: IpAddr) -> Result<(), Problem> {
        match self.misses.peek(&Counted::address(client), self.misses_limit(), Instant::now()) {
            Some(allowance) if allowance.exceeded => Err(exceeded(&allowance)),
            _ => Ok(()),
        }
    }

    /// Counts a session that does not exist.
    pub fn count_miss(&self, client: IpAddr) {
        let _counted = self.misses.count(&Counted::address(client), self.misses_limit(), Instant::now());
    }
}

/// Recognises and counts.
///
/// # Errors
/// What fails inside; a request too many is an answer.
pub async fn limits<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Err(problem) = single::check(request.headers()) {
        return Ok(request.into_response(problem.error_response()));
    }
    // The path as the router reads it: `/%61pi/` is `/api/`.
    let path = request.match_info().as_str();
    let is_counted = COUNTED_PATHS.iter().any(|prefix| path.starts_with(prefix));
    let gate = request.app_data::<web::Data<Gate>>().cloned().ok_or(Problem::Internal)?;
    if !is_counted {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let context = gate.context(&request);
    let allowance = gate.count(&context);
    request.extensions_mut().insert(Rc::new(context));
    let mut response = match &allowance {
        Some(allowance) if allowance.exceeded => request.into_response(exceeded(allowance).error_response()),
        _ => next.call(request).await?.map_into_boxed_body(),
    };
    if let Some(allowance) = allowance {
        tell(response.headers_mut(), &allowance, gate.ambient.now());
    }
    Ok(response)
}

/// The answer to whoever has used a window up.
pub(crate) fn exceeded(allowance: &Allowance) -> Problem {
    let retry_after_ms = u64::try_from(allowance.resets_in.as_millis()).unwrap_or(u64::MAX);
    Problem::RateLimited { retry_after_ms }
}

/// The window ends by the monotonic clock; only what is shown of its end is a time of day.
fn tell(headers: &mut HeaderMap, allowance: &Allowance, now: Timestamp) {
    let left = i64::try_from(allowance.resets_in.as_millis()).unwrap_or(i64::MAX);
    let reset = now.plus_millis(left).as_millis().unsigned_abs().div_ceil(1_000);
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
