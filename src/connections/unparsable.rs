//! The answers to what is not HTTP, and to heads that do not come.
//!
//! actix-http answers these by itself, with a status and nothing more: no middleware sees them. They are put into the
//! form that every error has where they are written.

use actix_web::http::header;
use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

/// To a client whose request's head did not come in time.
pub(super) const LATE: &str = concat!(
    "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncache-control: no-store\r\n",
    "content-type: application/json\r\ncontent-length: 91\r\n\r\n",
    r#"{"error":"The request's head did not arrive in time","code":"REQUEST_TIMEOUT","details":{}}"#
);

/// To an address that has as many connections as it may.
pub(super) const TOO_MANY: &str = concat!(
    "HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncache-control: no-store\r\nretry-after: 5\r\n",
    "content-type: application/json\r\ncontent-length: 92\r\n\r\n",
    r#"{"error":"Too many connections from this address","code":"RATE_LIMIT_EXCEEDED","details":{}}"#
);

/// When there is no descriptor left.
pub(super) const FULL: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncache-control: no-store\r\nretry-after: 1\r\n",
    "content-type: application/json\r\ncontent-length: 70\r\n\r\n",
    r#"{"error":"The service is overloaded","code":"OVERLOADED","details":{}}"#
);

/// What the parser says, and what the client is told.
const ANSWERS: [(&[u8], &str); 2] = [
    (b"400 ", r#"{"error":"The request is not valid HTTP/1.1","code":"MALFORMED_REQUEST","details":{}}"#),
    (b"431 ", r#"{"error":"The request's head is too large","code":"HEADERS_TOO_LARGE","details":{}}"#),
];

const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";

/// The bytes to write in place of those that end with an answer of the parser's: it is always the last one of its
/// connection. Every answer of the application's own with such a status has a body.
pub(super) fn answer_instead_of(bytes: &[u8]) -> Option<Bytes> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let begin = memmem::rfind(bytes, b"HTTP/1.")?;
    let status = bytes.get(begin + 9..begin + 13)?;
    let (_, body) = ANSWERS.iter().find(|(known, _)| *known == status)?;
    let empty = begin + memmem::find(bytes.get(begin..)?, NO_BODY)?;
    let (before, rest) = bytes.split_at_checked(empty)?;
    let mut instead = BytesMut::with_capacity(bytes.len() + 256);
    instead.put_slice(before);
    let length = body.len();
    instead.put_slice(
        format!(
            "\r\n{}: {length}\r\n{}: application/json\r\n{}: no-store\r\n",
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::CACHE_CONTROL,
        )
        .as_bytes(),
    );
    instead.put_slice(rest.get(NO_BODY.len()..)?);
    instead.put_slice(body.as_bytes());
    Some(instead.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_answer_of_the_parser_is_replaced() {
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let parsers = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let instead = answer_instead_of(format!("{before}{parsers}").as_bytes()).unwrap();
        let told = str::from_utf8(&instead).unwrap();
        let (head, body) = told.strip_prefix(before).unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\ndate: now"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "MALFORMED_REQUEST");
        for own in [
            before,
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 90\r\n\r\n",
        ] {
            assert_eq!(answer_instead_of(own.as_bytes()), None, "{own}");
        }
    }

    #[test]
    fn what_is_written_without_an_application_says_its_length() {
        for answer in [LATE, TOO_MANY, FULL] {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{} {answer}", body.len());
            serde_json::from_str::<serde_json::Value>(body).unwrap();
        }
    }
}
