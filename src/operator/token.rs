//! The token of the operator's interface: whoever can read the data directory has it, nobody else.
//!
//! The metrics need none on this machine: Prometheus cannot follow a token that is new with each start,
//! and they are numbers that tell of nobody. From another machine they need it like everything.

use actix_web::{
    Error, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use amoiq_events::Ambient;
use subtle::ConstantTimeEq;

use super::{METRICS, Refusal};
use crate::{http::context, problem::Problem, secret::Secret};

/// What a request has to bring as `Authorization: Bearer`.
#[derive(Debug, Clone)]
pub struct OperatorToken(Secret);

impl OperatorToken {
    /// A new one.
    #[must_use]
    pub fn generate(ambient: &Ambient) -> Self {
        let text = ambient.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(Secret::new(text))
    }

    /// The text, for the file that the command line reads.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    fn opens_for(&self, request: &HttpRequest) -> bool {
        let is_local = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        if is_local && request.path() == METRICS {
            return true;
        }
        let given = context::bearer(request).unwrap_or_default();
        self.expose().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// Lets only those pass who have the token, before anything is told, also not which routes there are.
///
/// # Errors
/// What fails inside; a request without the token is an answer.
pub async fn authorise<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let token = request.app_data::<web::Data<OperatorToken>>().cloned().ok_or(Problem::Internal)?;
    if token.opens_for(request.request()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    Ok(request.into_response(Refusal::Token.error_response()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn opens(peer: &str, path: &str, header: &str) -> bool {
        let token = OperatorToken(Secret::new("0123456789abcdef".to_owned()));
        let request = TestRequest::with_uri(path).peer_addr(peer.parse().unwrap());
        token.opens_for(&request.insert_header(("authorization", header)).to_http_request())
    }

    #[test]
    fn the_metrics_are_open_to_this_machine_alone() {
        for local in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert!(opens(local, "/metrics", ""), "{local}");
            assert!(!opens(local, "/operator/tenants", ""), "{local}");
            assert!(!opens(local, "/metrics/", ""), "{local}");
        }
        assert!(!opens("10.0.0.1:5", "/metrics", ""));
        assert!(opens("10.0.0.1:5", "/metrics", "Bearer 0123456789abcdef"));
    }

    #[test]
    fn a_part_of_the_token_or_more_than_it_is_another() {
        assert!(opens("127.0.0.1:5", "/operator/tenants", "Bearer 0123456789abcdef"));
        for bad in ["", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "0123456789abcdef"] {
            assert!(!opens("127.0.0.1:5", "/operator/tenants", bad), "{bad}");
        }
    }
}
