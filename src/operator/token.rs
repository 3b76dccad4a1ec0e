//! The token of the operator interface. Only those who can read the data directory have it.
//!
//! The metrics can be read without it from this machine and from the networks in `operator.metrics_networks`: Prometheus
//! cannot know a token that changes with each start, and the numbers identify nobody. From anywhere else the metrics need
//! the token too.

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
    http::middleware::limits::check_single_headers,
};

/// The token that requests send as `Authorization: Bearer`.
#[derive(Debug, Clone)]
pub struct OperatorToken(Secret);

impl OperatorToken {
    /// Generates a token.
    #[must_use]
    pub fn generate(ambient: &Ambient) -> Self {
        Self(Secret::new(hex::encode(ambient.bytes::<32>())))
    }

    /// The token as text, for the file that the command line reads.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    fn admits(&self, request: &HttpRequest) -> bool {
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = header.and_then(auth::bearer).unwrap_or_default();
        self.expose().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The networks from which metrics can be read without the token: `operator.metrics_networks`.
#[derive(Debug, Clone)]
pub struct MetricsNetworks(pub Vec<IpNet>);

impl MetricsNetworks {
    /// Decides by the address that connects: anybody can write anything into a header.
    fn admits(&self, request: &HttpRequest) -> bool {
        let Some(peer) = request.peer_addr().map(|peer| peer.ip().to_canonical()) else { return false };
        request.path() == METRICS && (peer.is_loopback() || self.0.iter().any(|known| known.contains(&peer)))
    }
}

/// Refuses requests without the token before anything is revealed, even which routes exist.
///
/// # Errors
/// The errors of the routes. A request without the token gets a response.
pub async fn authorise<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Err(problem) = check_single_headers(request.headers()) {
        return Ok(request.into_response(problem.error_response()));
    }
    let token = request.app_data::<web::Data<OperatorToken>>().cloned().ok_or(Problem::Internal)?;
    let networks = request.app_data::<web::Data<MetricsNetworks>>().cloned().ok_or(Problem::Internal)?;
    if networks.admits(request.request()) || token.admits(request.request()) {
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
        networks.admits(&request) || token.admits(&request)
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
