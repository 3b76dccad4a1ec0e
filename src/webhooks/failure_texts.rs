//! Explains to the owner of an endpoint, in a few words, why a request failed.
//!
//! The explanation says what the owner can do something about. It never repeats the text of an error: a library may
//! put the URL with its query into it, an address of the internal network, or names in somebody else's certificate.
//! The log has the addresses of names, for operators.

use std::{error::Error, io, iter};

use rustls::CertificateError;
use url::{Host, Url};

use super::{destination_policy::DestinationError, vetting_resolver::NameResolutionError};

/// The longest explanation, in characters: the receiver chooses the names in a certificate.
const MAX_CHARACTERS: usize = 200;

/// The explanation of a URL whose name has an address that is not allowed.
const REFUSED_NAME: &str = "refused address of this name; see webhooks.allowed_networks";

/// The beginning of the explanation of a refused address.
const REFUSED: &str = "refused address ";

/// Earlier releases listed a certificate's own names after this.
const OTHER_NAMES: &str = "; certificate is";

/// The receiver closed the connection before it answered.
const CLOSED: &str = "connection closed before the answer";

/// Why a request failed.
#[must_use]
pub fn explain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "connecting took too long".to_owned();
    }
    let words = causes(error).find_map(name).unwrap_or_else(|| "the request failed".to_owned());
    words.chars().take(MAX_CHARACTERS).collect()
}

/// An error and all its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| cause(error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // The `source` of an I/O error skips the error inside it.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn name(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(refused) = error.downcast_ref::<DestinationError>() {
        // This is about an address of the name. An address in the URL is refused before there is a request.
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

/// Says what is wrong with a certificate, and nothing else about it.
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

/// A stored explanation, as the owner of the endpoint with this URL may see it. Earlier releases stored the address
/// of a name and the names in a certificate.
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
