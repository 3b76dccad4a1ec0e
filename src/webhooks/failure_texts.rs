//! What went wrong on the way to an endpoint, in a few words for its owner.
//!
//! The words say what the owner can act on. They never show what an error brought along: a library's text
//! may hold the URL with its query, an address of the network behind, or the names of another's certificate. What a
//! name led to is in the log, for operators.

use std::{error::Error, io, iter};

use rustls::CertificateError;
use url::{Host, Url};

use super::{destination_policy::DestinationError, vetting_resolver::NameResolutionError};

/// The longest explanation, in characters: names in a certificate are the receiver's to choose.
const MAX_CHARACTERS: usize = 200;

/// A name of the URL has an address where deliveries do not go.
const REFUSED_NAME: &str = "refused address of this name; see webhooks.allowed_networks";

/// What the explanation of a refused address begins with.
const REFUSED: &str = "refused address ";

/// What a certificate's own names were told after.
const OTHER_NAMES: &str = "; certificate is";

/// The receiver went away before it had answered.
const CLOSED: &str = "connection closed before the answer";

/// What a failed request failed of.
#[must_use]
pub fn explain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "connecting took too long".to_owned();
    }
    let words = causes(error).find_map(name).unwrap_or_else(|| "the request failed".to_owned());
    words.chars().take(MAX_CHARACTERS).collect()
}

/// An error and all that it came of.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| cause(error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // An I/O error passes over the error inside of it when it is asked for its source.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn name(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(refused) = error.downcast_ref::<DestinationError>() {
        // It is of what a name led to: that of a URL was refused before there was a request.
        tracing::debug!(%refused, "the name of an endpoint leads to a refused address");
        return Some(REFUSED_NAME.to_owned());
    }
    if let Some(unresolved) = error.downcast_ref::<NameResolutionError>() {
        return Some(unresolved.to_string());
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(name_tls(error));
    }
    let words = match (error.downcast_ref::<hyper::Error>(), error.downcast_ref::<io::Error>()) {
        (Some(error), _) => name_http(error),
        (_, Some(error)) => name_io(error.kind()),
        _ => None,
    };
    words.map(str::to_owned)
}

/// What is wrong with a certificate is told, and not what else stands in it.
fn name_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, .. }) => {
            let name = expected.to_str();
            format!("TLS: invalid peer certificate: certificate not valid for name \"{name}\"")
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(_)) => {
            "TLS: invalid peer certificate".to_owned()
        }
        rustls::Error::General(_) | rustls::Error::Other(_) => "TLS: the handshake failed".to_owned(),
        error => format!("TLS: {error}"),
    }
}

/// An explanation as the owner of an endpoint with this URL is told it. Earlier releases stored what a name led to, and
/// what else stood in a certificate.
#[must_use]
pub fn told(explanation: String, url: &str) -> String {
    let has_name = Url::parse(url).is_ok_and(|url| matches!(url.host(), Some(Host::Domain(_))));
    if has_name && explanation.starts_with(REFUSED) {
        return REFUSED_NAME.to_owned();
    }
    match explanation.split_once(OTHER_NAMES) {
        Some((before, _)) => before.to_owned(),
        None => explanation,
    }
}

fn name_http(error: &hyper::Error) -> Option<&'static str> {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Some(CLOSED)
    } else if error.is_parse() {
        Some("the answer cannot be read as HTTP/1")
    } else {
        None
    }
}

fn name_io(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some("connection refused"),
        io::ErrorKind::TimedOut => Some("connecting took too long"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some("the host cannot be reached")
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(CLOSED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_releases_stored_is_told_without_addresses_and_names_of_others() {
        let of_name = "refused address 10.0.0.7; see webhooks.allowed_networks";
        assert_eq!(told(of_name.to_owned(), "https://inside.example/"), REFUSED_NAME);
        assert_eq!(told(of_name.to_owned(), "https://10.0.0.7/"), of_name, "it is the owner's own");
        let certificate = "TLS: invalid peer certificate: certificate not valid for name \"a.example\"; \
                           certificate is only valid for DnsName(\"vault.internal\")";
        let told_of = told(certificate.to_owned(), "https://a.example/");
        assert_eq!(told_of, "TLS: invalid peer certificate: certificate not valid for name \"a.example\"");
        assert_eq!(told("HTTP 500".to_owned(), "https://a.example/"), "HTTP 500");
    }
}
