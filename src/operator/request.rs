//! What a request to the operator interface says of itself: who makes the change, and the body.
//!
//! The name is whatever the caller sends in `X-Operator`. Whoever has the token is trusted, so the name proves nothing:
//! it is for people who read the log later.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web};
use amoiq_events::event::EventCause;
use serde::de::DeserializeOwned;

use crate::{
    api::problem::Problem,
    http::{
        body::{self, BodyRule},
        middleware::trace::RequestId,
    },
};

/// The header that names the operator.
pub const OPERATOR_HEADER: &str = "x-operator";

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Who makes a change, and in which request, as the log records it.
#[derive(Debug, Clone)]
pub struct OperatorIdentity(pub EventCause);

impl FromRequest for OperatorIdentity {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request))
    }
}

fn identify(request: &HttpRequest) -> Result<OperatorIdentity, Problem> {
    let name = match request.headers().get(OPERATOR_HEADER) {
        None => "unknown",
        Some(value) => value.to_str().ok().filter(|name| is_operator_name(name)).ok_or_else(|| {
            Problem::field("X-Operator", "must be 1 to 64 letters, digits, `.`, `_`, `-`, `+` or `@`")
        })?,
    };
    let causation = request.extensions().get::<RequestId>().map(|id| Box::from(&*id.0)).unwrap_or_default();
    Ok(OperatorIdentity(EventCause { causation, actor: format!("operator:{name}").into() }))
}

/// Whether a text is a valid operator name.
#[must_use]
pub fn is_operator_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "._-+@".contains(char))
}

/// A request that changes something. Without a body it has no fields.
#[derive(Debug)]
pub struct ChangeRequest<R> {
    /// Who makes the change.
    pub operator: OperatorIdentity,
    /// The fields of the body.
    pub body: R,
}

impl<R: DeserializeOwned + 'static> FromRequest for ChangeRequest<R> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let operator = identify(&request);
        let payload = web::Payload::from_request(&request, payload);
        Box::pin(async move {
            let operator = operator?;
            let payload = payload.await.map_err(|_never| Problem::Internal)?;
            Ok(Self { operator, body: body::request(&request, payload, BodyRule::Optional).await? })
        })
    }
}
