//! The token of the operator's interface: whoever can read the data directory has it, nobody else.
//!
//! The metrics need none on this machine and in the networks that `operator.metrics_networks` names: Prometheus
//! cannot follow a token that is new with each start, and they are numbers that tell of nobody. From anywhere else
//! they need it like everything.

use actix_web::{
    Error, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};
use amoiq_events::Ambient;
use ipnet::IpNet;
use subtle::ConstantTimeEq;

use super::{METRICS, OperatorError};
use crate::{
    access::{auth, secret::Secret},
    api::problem::Problem,
    http::middleware::single_headers,
};

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
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = header.and_then(auth::bearer).unwrap_or_default();
        self.expose().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// Where metrics are read without the token, beside this machine: `operator.metrics_networks`.
#[derive(Debug, Clone)]
pub struct MetricsNetworks(pub Vec<IpNet>);

impl MetricsNetworks {
    /// By the address that connects: what a request says of itself anybody can write.
    fn opens_for(&self, request: &HttpRequest) -> bool {
        let Some(peer) = request.peer_addr().map(|peer| peer.ip().to_canonical()) else { return false };
        request.path() == METRICS && (peer.is_loopback() || self.0.iter().any(|known| known.contains(&peer)))
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
    if let Err(problem) = single_headers::check(request.headers()) {
        return Ok(request.into_response(problem.error_response()));
    }
    let token = request.app_data::<web::Data<OperatorToken>>().cloned().ok_or(Problem::Internal)?;
    let networks = request.app_data::<web::Data<MetricsNetworks>>().cloned().ok_or(Problem::Internal)?;
    if networks.opens_for(request.request()) || token.opens_for(request.request()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    Ok(request.into_response(OperatorError::Token.error_response()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn opens(peer: &str, path: &str, header: &str) -> bool {
        let token = OperatorToken(Secret::new("0123456789abcdef".to_owned()));
        let networks = MetricsNetworks(vec!["172.16.0.0/12".parse().unwrap()]);
        let request = TestRequest::with_uri(path).peer_addr(peer.parse().unwrap());
        let request = request.insert_header(("x-forwarded-for", "127.0.0.1"));
        let request = request.insert_header(("authorization", header)).to_http_request();
        networks.opens_for(&request) || token.opens_for(&request)
    }

    #[test]
    fn the_metrics_are_open_to_this_machine_and_the_networks_that_are_named() {
        for near in
            ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5", "172.17.0.1:5", "[::ffff:172.17.0.1]:5"]
        {
            assert!(opens(near, "/metrics", ""), "{near}");
            assert!(!opens(near, "/operator/tenants", ""), "{near}");
            assert!(!opens(near, "/metrics/", ""), "{near}");
        }
        for far in ["10.0.0.1:5", "172.32.0.1:5", "[2001:db8::1]:5"] {
            assert!(!opens(far, "/metrics", ""), "{far}");
            assert!(opens(far, "/metrics", "Bearer 0123456789abcdef"), "{far}");
        }
    }

    #[test]
    fn a_part_of_the_token_or_more_than_it_is_another() {
        assert!(opens("127.0.0.1:5", "/operator/tenants", "Bearer 0123456789abcdef"));
        for bad in ["", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "0123456789abcdef"] {
            assert!(!opens("127.0.0.1:5", "/operator/tenants", bad), "{bad}");
        }
    }
}
