//! Reads a request's body: JSON, within the limit, in time.

use actix_web::{
    HttpRequest,
    http::header,
    web::{self, Bytes},
};
use amoiq_connections::{BodyError, is_identity, read_body};
use serde::de::DeserializeOwned;
use serde_json::Map;

use crate::api::{
    field::{self, json},
    problem::Problem,
};

/// The largest body, in bytes: `limits.body_bytes`.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// Whether a request has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// It must have one.
    Required,
    /// It may have one; an empty body counts as an object without members.
    Optional,
    /// It has none that is read.
    Ignored,
}

/// The request in a body, which has to be a JSON object.
///
/// # Errors
/// When it is not declared as JSON, too large, too slow, not JSON or not an object.
pub async fn request<R: DeserializeOwned>(
    request: &HttpRequest,
    payload: web::Payload,
    rule: BodyRule,
) -> Result<R, Problem> {
    match rule {
        BodyRule::Ignored => field::request(Map::new()),
        BodyRule::Required if !is_json(request) => Err(Problem::UnsupportedMediaType),
        BodyRule::Required => json::request(&bytes(request, payload).await?),
        BodyRule::Optional => {
            let bytes = bytes(request, payload).await?;
            if json::without_mark(&bytes).is_empty() {
                return field::request(Map::new());
            }
            if is_json(request) { json::request(&bytes) } else { Err(Problem::UnsupportedMediaType) }
        }
    }
}

async fn bytes(request: &HttpRequest, payload: web::Payload) -> Result<Bytes, Problem> {
    if !is_identity(request.headers()) {
        return Err(Problem::UnsupportedEncoding);
    }
    let BodyLimit(limit_bytes) =
        *request.app_data::<web::Data<BodyLimit>>().ok_or(Problem::Internal)?.as_ref();
    let too_large = Problem::PayloadTooLarge { limit_bytes };
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > limit_bytes) {
        return Err(too_large);
    }
    read_body(request, payload, limit_bytes).await.map_err(|error| match error {
        BodyError::TooLarge => too_large,
        BodyError::TooSlow => Problem::MalformedJson("the body did not arrive in time".to_owned()),
        BodyError::Broken => Problem::MalformedJson("the body ended early".to_owned()),
    })
}

/// `application/json`, or a type that is JSON by its suffix.
fn is_json(request: &HttpRequest) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return true;
    }
    let essence = essence.to_ascii_lowercase();
    essence.starts_with("application/") && essence.ends_with("+json")
}
