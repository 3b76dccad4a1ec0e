//! HTTP/1.1 by hand: a request that is the same but for numbers, and what an answer says.

use std::sync::LazyLock;

use anyhow::bail;
use memchr::memmem::Finder;

use crate::template::{MessageTemplate, NUMBER, SESSION, decimal};

/// The key of the demo tenant that visitors' pages have.
pub const WIDGET_KEY: &str = "wk_demo_0000000000000000";
/// What every message says besides its text and session.
pub const PAGE: &str = r#""fingerprint":"a1b2c3d4e5f6g7h8","domain":"example.com","origin":"https://example.com","url":"https://example.com/page""#;

static HEAD_END: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\r\n\r\n"));
static LENGTH: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("ontent-"));
static MESSAGE_ID: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(r#""messageId":""#));

/// What is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostKind {
    /// Messages that are stored.
    Message,
    /// Messages without text, which are refused once they are parsed.
    Refused,
    /// The same message again and again, in each session.
    Repeated,
}

impl PostKind {
    /// The request. `run` tells the sessions of one run from those of another.
    pub fn template(self, run: &str) -> MessageTemplate {
        let (text, id) = match self {
            Self::Message => (format!("Hello, I need help with order {NUMBER}"), ""),
            Self::Refused => (String::new(), ""),
            Self::Repeated => ("Hello, I need help".to_owned(), r#""clientMessageId":"the-same-again","#),
        };
        let body = format!(
            r#"{{"text":"{text}",{id}"tenantId":"demo","sessionId":"session-{run}-{SESSION}",{PAGE}}}"#
        );
        let request = format!(
            "POST /webchat/message HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {WIDGET_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        MessageTemplate::new(request.into_bytes())
    }

    /// Whether an answer is the right one.
    pub fn is_right(self, answer: &HttpAnswer<'_>) -> bool {
        match self {
            Self::Message | Self::Repeated => answer.status == 200 && answer.message_id().is_some(),
            Self::Refused => answer.status == 400,
        }
    }
}

impl std::str::FromStr for PostKind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "message" => Self::Message,
            "refused" => Self::Refused,
            "repeated" => Self::Repeated,
            _ => bail!("{name} is none of message, refused, repeated"),
        })
    }
}

/// An answer.
pub struct HttpAnswer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// How much of what arrived it is.
    pub bytes: usize,
}

impl<'a> HttpAnswer<'a> {
    /// The first answer in these bytes, if it is whole. One without a length is an error.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, &'static str> {
        let Some(end) = HEAD_END.find(bytes) else { return Ok(None) };
        let (head, rest) = bytes.split_at_checked(end + 4).ok_or("no head")?;
        let status = decimal(head.get(9..12).unwrap_or_default());
        let length = content_length(head).ok_or("an answer without a length")?;
        let status = u16::try_from(status).map_err(|_error| "no status")?;
        Ok(rest.get(..length).map(|body| Self { status, body, bytes: head.len() + length }))
    }

    /// The id that the message has.
    pub fn message_id(&self) -> Option<&'a [u8]> {
        let start = MESSAGE_ID.find(self.body)? + MESSAGE_ID.needle().len();
        let rest = self.body.get(start..)?;
        rest.get(..memchr::memchr(b'"', rest)?).filter(|id| !id.is_empty())
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let names = LENGTH.find_iter(head).map(|start| start + LENGTH.needle().len());
    let mut values = names.filter_map(|start| {
        let (name, value) = head.get(start..)?.split_at_checked("length:".len())?;
        name.eq_ignore_ascii_case(b"length:").then_some(value)
    });
    usize::try_from(decimal(values.next()?.trim_ascii_start())).ok()
}
