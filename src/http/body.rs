//! Reads a request's body: JSON, within the limit, in time.

use actix_web::{
    HttpRequest,
    http::header,
    web::{self, Bytes},
};
use amoiq_connections::{BodyError, is_identity, read_body};
use serde_json::{Map, Value};

use super::fields::Fields;
use crate::api::problem::Problem;

/// The largest body, in bytes: `limits.body_bytes`.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// The fields of a body that has to be a JSON object.
///
/// # Errors
/// When it is not declared as JSON, too large, too slow, not JSON or not an object.
pub async fn read(request: &HttpRequest, payload: web::Payload) -> Result<Fields, Problem> {
    if !is_json(request) {
        return Err(Problem::UnsupportedMediaType);
    }
    parse(without_mark(&bytes(request, payload).await?))
}

/// The same for a route whose body may be absent.
///
/// # Errors
/// As [`read`].
pub async fn read_optional(request: &HttpRequest, payload: web::Payload) -> Result<Fields, Problem> {
    let bytes = bytes(request, payload).await?;
    let bytes = without_mark(&bytes);
    if bytes.is_empty() {
        return Ok(Fields::new(Map::new()));
    }
    if is_json(request) { parse(bytes) } else { Err(Problem::UnsupportedMediaType) }
}

/// A body without the byte order mark that PowerShell and .NET begin it with (RFC 8259, 8.1).
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
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
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The fields of a JSON object.
///
/// # Errors
/// When it is not JSON, or not an object.
pub fn parse(bytes: &[u8]) -> Result<Fields, Problem> {
    let value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        // JSON's grammar allows half a surrogate pair, texts do not: it is told field by field.
        Err(error) => match serde_json::from_slice(&without_lone_surrogates(bytes)) {
            Ok(value) => value,
            Err(_still_not_json) => return Err(Problem::MalformedJson(error.to_string())),
        },
    };
    match value {
        Value::Object(values) => Ok(Fields::new(values)),
        _ => Err(Problem::field("body", "must be an object")),
    }
}

/// The body with every escaped surrogate that has no partner made NUL, which no field takes.
fn without_lone_surrogates(bytes: &[u8]) -> Vec<u8> {
    let mut clean = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let step = match (surrogate(bytes, at), surrogate(bytes, at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(_), _) => {
                if let Some(digits) = clean.get_mut(at + 2..at + 6) {
                    digits.fill(b'0');
                }
                6
            }
            // An escaped backslash is not the begin of an escape.
            _ if bytes.get(at) == Some(&b'\\') => 2,
            _ => 1,
        };
        at += step;
    }
    clean
}

/// The surrogate that is escaped at a place.
fn surrogate(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let unit = u16::from_str_radix(str::from_utf8(escape).ok()?, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        String::from_utf8(without_lone_surrogates(text.as_bytes())).unwrap()
    }

    #[test]
    fn only_a_surrogate_without_its_partner_is_replaced() {
        assert_eq!(clean(r"a\ud83d\ude00b"), r"a\ud83d\ude00b");
        assert_eq!(clean(r"a\ud83db"), r"a\u0000b");
        assert_eq!(clean(r"\ude00\ud83d"), r"\u0000\u0000");
        assert_eq!(clean(r"\ud83d\ud83d\ude00"), r"\u0000\ud83d\ude00");
        assert_eq!(clean(r"\\ud83d"), r"\\ud83d");
        assert_eq!(clean(r"\u00e9\ud8"), r"\u00e9\ud8");
    }
}
