//! Answers that no handler writes: to what is not HTTP, to a head that does not arrive, and to refused connections.
//!
//! actix-http answers what it cannot parse by itself, with a status and an empty body, and no middleware sees that
//! answer. The stream replaces it with one that has the application's error body.

use actix_web::http::header;
use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

/// The JSON bodies of such answers, which have the form of the application's other errors.
#[derive(Debug, Clone, Copy)]
pub struct ErrorBodies {
    /// 408: the head of a request did not arrive in time.
    pub head_timeout: &'static str,
    /// 429: the address has as many connections as it may.
    pub address_limit: &'static str,
    /// 503: no descriptor is left.
    pub overloaded: &'static str,
    /// 400: it is not HTTP/1.1.
    pub malformed: &'static str,
    /// 431: the head is too large.
    pub head_too_large: &'static str,
}

const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";

impl ErrorBodies {
    pub(super) fn head_timeout_response(&self) -> String {
        response("408 Request Timeout", "", self.head_timeout)
    }

    pub(super) fn address_limit_response(&self) -> String {
        response("429 Too Many Requests", "retry-after: 5\r\n", self.address_limit)
    }

    pub(super) fn overloaded_response(&self) -> String {
        response("503 Service Unavailable", "retry-after: 1\r\n", self.overloaded)
    }

    /// The bytes to write in place of those that end with an answer of the parser, which is always the last answer of
    /// its connection. Every answer of the application with such a status has a body.
    pub(super) fn replacement(&self, bytes: &[u8]) -> Option<Bytes> {
        if !bytes.ends_with(b"\r\n\r\n") {
            return None;
        }
        let start = memmem::rfind(bytes, b"HTTP/1.")?;
        let body = match bytes.get(start + 9..start + 13)? {
            b"400 " => self.malformed,
            b"431 " => self.head_too_large,
            _ => return None,
        };
        let empty = start + memmem::find(bytes.get(start..)?, NO_BODY)?;
        let (before, rest) = bytes.split_at_checked(empty)?;
        let mut replacement = BytesMut::with_capacity(bytes.len() + 256);
        replacement.put_slice(before);
        let headers = format!(
            "\r\n{}: {}\r\n{}: application/json\r\n{}: no-store\r\n",
            header::CONTENT_LENGTH,
            body.len(),
            header::CONTENT_TYPE,
            header::CACHE_CONTROL,
        );
        replacement.put_slice(headers.as_bytes());
        replacement.put_slice(rest.get(NO_BODY.len()..)?);
        replacement.put_slice(body.as_bytes());
        Some(replacement.freeze())
    }
}

fn response(status: &str, header: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncache-control: no-store\r\n{header}\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[cfg(test)]
pub(crate) const TEST_BODIES: ErrorBodies = ErrorBodies {
    head_timeout: r#"{"code":"TIMEOUT"}"#,
    address_limit: r#"{"code":"ADDRESS"}"#,
    overloaded: r#"{"code":"OVERLOADED"}"#,
    malformed: r#"{"code":"MALFORMED"}"#,
    head_too_large: r#"{"code":"LARGE"}"#,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_answer_of_the_parser_is_replaced() {
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let parsers = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let replacement = TEST_BODIES.replacement(format!("{before}{parsers}").as_bytes()).unwrap();
        let written = str::from_utf8(&replacement).unwrap();
        let (head, body) = written.strip_prefix(before).unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\ndate: now"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "MALFORMED");
        for own in [
            before,
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 90\r\n\r\n",
        ] {
            assert_eq!(TEST_BODIES.replacement(own.as_bytes()), None, "{own}");
        }
    }

    #[test]
    fn an_answer_without_a_handler_states_its_length() {
        for response in [
            TEST_BODIES.head_timeout_response(),
            TEST_BODIES.address_limit_response(),
            TEST_BODIES.overloaded_response(),
        ] {
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{response}");
            assert_eq!(head.lines().filter(|line| line.starts_with("connection: close")).count(), 1);
            serde_json::from_str::<serde_json::Value>(body).unwrap();
        }
    }
}
