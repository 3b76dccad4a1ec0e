//! What went wrong on the way to an endpoint, in a few words for its owner.
//!
//! The words say what the owner can act on. They never show what an error brought along: a library's text
//! may hold the URL with its query, or an address of the network behind. The one address that is shown is
//! the refused one, which came from the owner's own URL or name.

use std::{error::Error, io, iter};

use super::{destination::Refused, resolver::Unresolved};

/// The longest explanation, in characters: names in a certificate are the receiver's to choose.
const MAX_CHARACTERS: usize = 200;

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
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return Some(refused.to_string());
    }
    if let Some(unresolved) = error.downcast_ref::<Unresolved>() {
        return Some(unresolved.to_string());
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(format!("TLS: {error}"));
    }
    let words = match (error.downcast_ref::<hyper::Error>(), error.downcast_ref::<io::Error>()) {
        (Some(error), _) => name_http(error),
        (_, Some(error)) => name_io(error.kind()),
        _ => None,
    };
    words.map(str::to_owned)
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
