//! What goes over a transport: a type digit and its content, or raw binary; several of them in a polling payload.
//!
//! Decoding is strict: a packet that a client may not send at all is [`MalformedEnginePacket`], whatever the state of
//! the connection. A packet for clients is encoded once and shared by all connections that send it.

use actix_http::ws::{CloseReason, OpCode, Parser};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
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

/// An encoded packet for a client: the websocket frame that it is sent in, whose payload is what a poll gets. A server
/// masks nothing, so all clients of a packet share its bytes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingPacket {
    frame: Bytes,
    payload_start: u8,
    kind: PacketKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PacketKind {
    /// With its type digit.
    Text,
    /// Raw bytes: a message.
    Binary,
    /// Bytes of a websocket that are no packet.
    Control,
}

impl OutgoingPacket {
    /// Asks whether the client is there.
    pub const PING: Self = Self::short(b"\x81\x012");
    /// The answer to [`EnginePacket::Probe`].
    pub const PROBED: Self = Self::short(b"\x81\x063probe");
    /// Answers a poll without a message.
    pub const NOOP: Self = Self::short(b"\x81\x016");
    /// The server leaves.
    pub const CLOSE: Self = Self::short(b"\x81\x011");

    /// The frame of a text with less than 126 bytes.
    const fn short(frame: &'static [u8]) -> Self {
        Self { frame: Bytes::from_static(frame), payload_start: 2, kind: PacketKind::Text }
    }

    /// A text, with its type digit.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::encode(PacketKind::Text, OpCode::Text, text.as_bytes())
    }

    /// Raw bytes: a message.
    #[must_use]
    pub fn binary(bytes: &[u8]) -> Self {
        Self::encode(PacketKind::Binary, OpCode::Binary, bytes)
    }

    /// A message as a packet. A layer above that knows the digit encodes it itself.
    #[must_use]
    pub fn message(message: &EngineMessage) -> Self {
        match message {
            EngineMessage::Text(text) => Self::text(&format!("4{text}")),
            EngineMessage::Binary(bytes) => Self::binary(bytes),
        }
    }

    /// The answer to a ping of the websocket itself.
    pub(super) fn websocket_pong(payload: &[u8]) -> Self {
        Self::encode(PacketKind::Control, OpCode::Pong, payload)
    }

    /// The last frame of a websocket.
    pub(super) fn websocket_close(reason: Option<CloseReason>) -> Self {
        let mut frame = BytesMut::new();
        Parser::write_close(&mut frame, reason, false);
        Self::control(frame.freeze())
    }

    /// Bytes of a websocket that are no packet.
    pub(super) fn control(bytes: Bytes) -> Self {
        Self { frame: bytes, payload_start: 0, kind: PacketKind::Control }
    }

    fn encode(kind: PacketKind, code: OpCode, payload: &[u8]) -> Self {
        let header = match payload.len() {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        };
        let mut frame = BytesMut::with_capacity(payload.len() + usize::from(header));
        Parser::write_message(&mut frame, payload, code, true, false);
        Self { frame: frame.freeze(), payload_start: header, kind }
    }

    /// The websocket frame.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// What is in the frame.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.frame.get(usize::from(self.payload_start)..).unwrap_or_default()
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        str::from_utf8(self.payload()).ok().filter(|_| self.kind == PacketKind::Text)
    }

    /// Whether the client takes it for a packet.
    pub(super) fn is_packet(&self) -> bool {
        self.kind != PacketKind::Control
    }

    /// Its size, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.payload().len()
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
        match packet.as_text() {
            Some(text) => body.push_str(text),
            None => {
                body.push('b');
                BASE64.encode_string(packet.payload(), &mut body);
            }
        }
    }
    body
}
