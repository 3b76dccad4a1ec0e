//! Where pages reach this service: `server.public_url`, otherwise what a request says.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use actix_web::{HttpRequest, http::header, http::uri::Authority};

use crate::access::forwarded::TrustedProxies;

/// The header in which a proxy says how it was called.
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Finds the origin that pages connect to.
pub struct PublicOrigin {
    /// `server.public_url`
    configured: Option<String>,
    proxies: Arc<TrustedProxies>,
    /// Whether the log has the line about a page over HTTPS behind a proxy that does not say so.
    has_guessed: AtomicBool,
}

impl PublicOrigin {
    /// The configured origin, or that of each request.
    #[must_use]
    pub fn new(configured: &str, proxies: Arc<TrustedProxies>) -> Self {
        let configured = configured.trim_end_matches('/');
        let configured = (!configured.is_empty()).then(|| configured.to_owned());
        Self { configured, proxies, has_guessed: AtomicBool::new(false) }
    }

    /// The origin, without a path: a client would take a path for a namespace.
    pub fn of(&self, request: &HttpRequest) -> String {
        if let Some(configured) = &self.configured {
            return configured.clone();
        }
        let host = text(request, header::HOST.as_str()).filter(|host| host.parse::<Authority>().is_ok());
        let host = host.unwrap_or("localhost");
        format!("{}://{host}", if self.is_secure(request) { "https" } else { "http" })
    }

    fn is_secure(&self, request: &HttpRequest) -> bool {
        if self.proxies.is_peer_of(request)
            && let Some(proto) = text(request, X_FORWARDED_PROTO)
        {
            return proto.split(',').next().is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
        }
        // A browser blocks a socket without TLS on a page with it.
        let is_secure =
            text(request, header::ORIGIN.as_str()).is_some_and(|origin| origin.starts_with("https://"));
        if is_secure && !self.has_guessed.swap(true, Relaxed) {
            tracing::warn!(
                "a page over HTTPS asks for its socket, and neither server.public_url nor a trusted proxy's X-Forwarded-Proto \
                 says how this service is reached: it is told https. This is said once"
            );
        }
        is_secure
    }
}

fn text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn origin(configured: &str, headers: &[(&str, &str)]) -> String {
        let proxies = Arc::new(TrustedProxies::new(vec!["127.0.0.1/32".parse().unwrap()]));
        let mut request = TestRequest::default().peer_addr("127.0.0.1:9".parse().unwrap());
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        PublicOrigin::new(configured, proxies).of(&request.to_http_request())
    }

    #[test]
    fn the_origin_is_the_configured_one_or_what_the_request_and_a_trusted_proxy_say() {
        let host = ("host", "chat.example:8443");
        assert_eq!(origin("", &[host]), "http://chat.example:8443");
        assert_eq!(origin("", &[host, (X_FORWARDED_PROTO, "https")]), "https://chat.example:8443");
        assert_eq!(origin("", &[host, ("origin", "https://shop.example")]), "https://chat.example:8443");
        let http_behind = [host, ("origin", "https://shop.example"), (X_FORWARDED_PROTO, "http")];
        assert_eq!(origin("", &http_behind), "http://chat.example:8443");
        assert_eq!(origin("https://chat.example/", &[("host", "10.0.0.7")]), "https://chat.example");
        assert_eq!(origin("", &[("host", "a b/../c")]), "http://localhost");
    }
}
