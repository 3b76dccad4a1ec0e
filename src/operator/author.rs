//! Who makes a change, as the log keeps it.
//!
//! The name is what the caller says (`X-Operator`): whoever has the token is trusted, so it is for
//! people who read the log later, and proves nothing.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use amoiq_events::event::EventCause;

use crate::{api::problem::Problem, http::trace::RequestId};

/// The header that names the operator.
pub const HEADER: &str = "x-operator";

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The one who asks, and which request it is.
#[derive(Debug, Clone)]
pub struct Operator(pub EventCause);

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(recognise(request))
    }
}

fn recognise(request: &HttpRequest) -> Result<Operator, Problem> {
    let name = match request.headers().get(HEADER) {
        None => "unknown",
        Some(value) => value.to_str().ok().filter(|name| is_name(name)).ok_or_else(|| {
            Problem::field("X-Operator", "must be 1 to 64 letters, digits, `.`, `_`, `-`, `+` or `@`")
        })?,
    };
    let causation = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    Ok(Operator(EventCause { causation, actor: format!("operator:{name}").into() }))
}

/// Whether a text names an operator.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "._-+@".contains(char))
}
