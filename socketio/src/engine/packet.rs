//! What goes over a transport: a type digit and its content, or raw binary; several of them in a polling payload.
//!
//! Decoding is strict: a packet that a client may not send at all is [`MalformedEnginePacket`], whatever the state of
//! the connection. A packet for clients is encoded once and shared by all connections that send it.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use bytestring::ByteString;

/// Separates the packets of a payload; JSON cannot contain it unescaped.
const SEPARATOR: char = '\x1e';

/// The most packets of one payload. Known clients send a handful; the bound keeps a payload of a million one-byte
/// packets from becoming a million values.
const MAX_PAYLOAD_PACKETS: usize = 10_000;

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineMessage {
    /// Text.
    Text(ByteString),
    /// Raw bytes.
    Binary(Bytes),
}

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnginePacket {
    /// The client leaves.
    Close,
    /// Asks whether the upgraded transport works: the only ping that a client sends.
    Probe,
    /// The answer to the server's ping.
    Pong,
    /// A message of the protocol above.
    Message(EngineMessage),
    /// The client now uses the upgraded transport alone.
    Upgrade,
}

/// The bytes are no packet that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", MalformedEnginePacket::TEXT)]
pub struct MalformedEnginePacket;

impl MalformedEnginePacket {
    /// What the client is told.
    pub const TEXT: &str = "Not an Engine.IO 4 packet that a client may send";
}

impl EnginePacket {
    /// Decodes a text frame or a part of a polling payload. Binary is `b` and base64 there: always in a payload, and in
    /// a frame of a client that was told to force base64.
    ///
    /// # Errors
    /// [`MalformedEnginePacket`].
    pub fn decode_text(text: &ByteString) -> Result<Self, MalformedEnginePacket> {
        let Some(kind) = text.as_bytes().first() else { return Err(MalformedEnginePacket) };
        let rest = text.get(1..).ok_or(MalformedEnginePacket)?;
        match (kind, rest) {
            (b'1', "") => Ok(Self::Close),
            (b'2', "probe") => Ok(Self::Probe),
            (b'3', "") => Ok(Self::Pong),
            (b'4', rest) => Ok(Self::Message(EngineMessage::Text(text.slice_ref(rest)))),
            (b'5', "") => Ok(Self::Upgrade),
            (b'b', encoded) => {
                let bytes = BASE64.decode(encoded).map_err(|_not_base64| MalformedEnginePacket)?;
                Ok(Self::Message(EngineMessage::Binary(bytes.into())))
            }
            _ => Err(MalformedEnginePacket),
        }
    }

    /// Decodes a message of a websocket: a text starts with its type digit, binary has none.
    pub(super) fn decode_frame(message: EngineMessage) -> Result<Self, MalformedEnginePacket> {
        match message {
            EngineMessage::Text(text) => Self::decode_text(&text),
            binary @ EngineMessage::Binary(_) => Ok(Self::Message(binary)),
        }
    }

    /// The size of its message, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Message(EngineMessage::Text(text)) => text.len(),
            Self::Message(EngineMessage::Binary(bytes)) => bytes.len(),
            Self::Close | Self::Probe | Self::Pong | Self::Upgrade => 0,
        }
    }
}

/// An encoded packet for a client. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutgoingPacket {
    /// With its type digit.
    Text(ByteString),
    /// Raw bytes: a message.
    Binary(Bytes),
}

impl OutgoingPacket {
    /// Asks whether the client is there.
    pub const PING: Self = Self::Text(ByteString::from_static("2"));
    /// The answer to [`EnginePacket::Probe`].
    pub const PROBED: Self = Self::Text(ByteString::from_static("3probe"));
    /// Answers a poll without a message.
    pub const NOOP: Self = Self::Text(ByteString::from_static("6"));
    /// The server leaves.
    pub const CLOSE: Self = Self::Text(ByteString::from_static("1"));

    /// A message as a packet. A layer above that knows the digit encodes it itself.
    #[must_use]
    pub fn message(message: EngineMessage) -> Self {
        match message {
            EngineMessage::Text(text) => Self::Text(format!("4{text}").into()),
            EngineMessage::Binary(bytes) => Self::Binary(bytes),
        }
    }

    /// Its size, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Decodes every packet of a polling body.
///
/// # Errors
/// [`MalformedEnginePacket`] when one of them is malformed, the body is not UTF-8, or there are too many packets.
pub fn decode_payload(body: Bytes) -> Result<Vec<EnginePacket>, MalformedEnginePacket> {
    let text = ByteString::try_from(body).map_err(|_not_utf8| MalformedEnginePacket)?;
    let mut packets = Vec::new();
    for part in text.split(SEPARATOR) {
        if packets.len() == MAX_PAYLOAD_PACKETS {
            return Err(MalformedEnginePacket);
        }
        packets.push(EnginePacket::decode_text(&text.slice_ref(part))?);
    }
    Ok(packets)
}

/// Encodes packets as a polling body.
#[must_use]
pub fn encode_payload<'a>(packets: impl IntoIterator<Item = &'a OutgoingPacket>) -> String {
    let mut body = String::new();
    for (number, packet) in packets.into_iter().enumerate() {
        if number > 0 {
            body.push(SEPARATOR);
        }
        match packet {
            OutgoingPacket::Text(text) => body.push_str(text),
            OutgoingPacket::Binary(bytes) => {
                body.push('b');
                BASE64.encode_string(bytes, &mut body);
            }
        }
    }
    body
}
