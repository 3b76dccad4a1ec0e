//! What a request for a websocket has to be by RFC 6455, §4.2.1, beside what actix checks of it.

use actix_web::{
    HttpRequest,
    http::{Version, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::refused::Refused;

/// The bytes of a key.
const KEY_BYTES: usize = 16;

/// Looks at what decides where the first frame begins, and whether a proxy in between could take it for a body.
pub(super) fn check(request: &HttpRequest) -> Result<(), Refused> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11 {
        return Err(Refused::BadRequest("A websocket needs HTTP/1.1"));
    }
    let has_length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refused::BadRequest("A request for a websocket has no body"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    match key {
        Some(key) if key.len() == KEY_BYTES => Ok(()),
        _ => Err(Refused::BadRequest("Sec-WebSocket-Key must be the base64 of 16 bytes")),
    }
}
