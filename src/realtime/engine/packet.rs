//! What goes over a transport: a type digit and its data, or raw binary.
//!
//! Decoding is strict: a packet that a client may not send at all is [`Malformed`], whatever the
//! connection's state is. Outgoing packets are encoded once and shared by every connection that they
//! go to.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use bytestring::ByteString;

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Text.
    Text(ByteString),
    /// Raw bytes.
    Binary(Bytes),
}

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The client leaves.
    Close,
    /// Asks whether the upgraded transport works: the only ping that a client sends.
    Probe,
    /// The answer to the server's ping.
    Pong,
    /// What the engine is for.
    Message(Data),
    /// The client now uses the upgraded transport alone.
    Upgrade,
}

/// The bytes are no packet that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", Malformed::TEXT)]
pub struct Malformed;

impl Malformed {
    /// What the client is told.
    pub const TEXT: &str = "Not an Engine.IO 4 packet that a client may send";
}

impl Packet {
    /// Reads a packet of a text frame or of a polling payload. Binary is `b` and base64 there: always in a
    /// payload, and in a frame of a client that was told to force base64.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode_text(text: &ByteString) -> Result<Self, Malformed> {
        let Some(kind) = text.as_bytes().first() else { return Err(Malformed) };
        let rest = text.get(1..).ok_or(Malformed)?;
        match (kind, rest) {
            (b'1', "") => Ok(Self::Close),
            (b'2', "probe") => Ok(Self::Probe),
            (b'3', "") => Ok(Self::Pong),
            (b'4', rest) => Ok(Self::Message(Data::Text(text.slice_ref(rest)))),
            (b'5', "") => Ok(Self::Upgrade),
            (b'b', encoded) => {
                let bytes = BASE64.decode(encoded).map_err(|_not_base64| Malformed)?;
                Ok(Self::Message(Data::Binary(bytes.into())))
            }
            _ => Err(Malformed),
        }
    }
}

impl Packet {
    /// What its message carries, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Message(Data::Text(text)) => text.len(),
            Self::Message(Data::Binary(bytes)) => bytes.len(),
            Self::Close | Self::Probe | Self::Pong | Self::Upgrade => 0,
        }
    }
}

/// A packet for a client, encoded. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// With its type digit.
    Text(ByteString),
    /// Raw bytes: a message.
    Binary(Bytes),
}

impl Outgoing {
    /// Asks whether the client is there.
    pub const PING: Self = Self::Text(ByteString::from_static("2"));
    /// The answer to [`Packet::Probe`].
    pub const PROBED: Self = Self::Text(ByteString::from_static("3probe"));
    /// Says nothing, to answer a poll.
    pub const NOOP: Self = Self::Text(ByteString::from_static("6"));
    /// The server leaves.
    pub const CLOSE: Self = Self::Text(ByteString::from_static("1"));

    /// A message, as a packet. Layers above that know the digit encode it themselves.
    #[must_use]
    pub fn message(data: Data) -> Self {
        match data {
            Data::Text(text) => Self::Text(format!("4{text}").into()),
            Data::Binary(bytes) => Self::Binary(bytes),
        }
    }

    /// What it costs to keep, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Adds it to a polling payload.
    pub(super) fn encode_polled(&self, payload: &mut String) {
        match self {
            Self::Text(text) => payload.push_str(text),
            Self::Binary(bytes) => {
                payload.push('b');
                BASE64.encode_string(bytes, payload);
            }
        }
    }
}
