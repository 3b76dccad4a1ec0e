//! What goes over a connection: type, namespace, acknowledgement id and JSON.
//!
//! `<type>[<attachments>-][/<namespace>,][<id>][<JSON>]`. Decoding is strict: what the protocol's
//! reference parser refuses is [`MalformedSocketPacket`], and so is a packet that only a server sends. The JSON is
//! checked and kept as text; no values are built.

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Map, Value, value::RawValue};

use crate::engine::EngineMessage;

mod client_event;

pub use client_event::ClientEvent;
use client_event::check_placeholders;

/// The most attachments of one packet.
pub const MAX_ATTACHMENTS: usize = 10;

/// The largest credentials, in bytes: their JSON becomes values, which take many times as much memory, before the
/// client is authenticated.
pub const MAX_CONNECT_BYTES: usize = 16 * 1024;

/// The namespace of a packet that names none.
pub const DEFAULT_NAMESPACE: &str = "/";

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPacket {
    /// The namespace.
    pub namespace: ByteString,
    /// The content.
    pub body: PacketBody,
}

/// The content of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketBody {
    /// Connects to the namespace with these credentials.
    Connect(Map<String, Value>),
    /// The same with credentials over [`MAX_CONNECT_BYTES`], which are not read.
    LargeConnect,
    /// Leaves the namespace.
    Disconnect,
    /// An event.
    Event(ClientEvent),
    /// The answer to an event of the server.
    Ack {
        /// The number of the event.
        id: u64,
        /// A JSON array.
        args: ByteString,
        /// Binary for the placeholders of the array.
        attachments: Vec<Bytes>,
    },
}

/// The text is no packet that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", MalformedSocketPacket::TEXT)]
pub struct MalformedSocketPacket;

impl MalformedSocketPacket {
    /// What the client is told.
    pub const TEXT: &str = "Not a Socket.IO 5 packet that a client may send";
}

/// A packet and the number of attachments that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedPacket {
    /// The packet without its attachments.
    pub packet: SocketPacket,
    /// How many binary messages belong to it.
    pub attachments: usize,
}

impl SocketPacket {
    /// Decodes a text message.
    ///
    /// # Errors
    /// [`MalformedSocketPacket`].
    pub fn decode(text: &ByteString) -> Result<DecodedPacket, MalformedSocketPacket> {
        let (kind, rest) = text.split_at_checked(1).ok_or(MalformedSocketPacket)?;
        let is_binary = matches!(kind, "5" | "6");
        let (attachments, rest) = if is_binary { attachments(rest)? } else { (0, rest) };
        let (namespace, rest) = namespace(rest);
        let (id, json) = id(rest)?;
        let json = Some(json).filter(|json| !json.is_empty());
        let body = match (kind, id, json) {
            ("0", None, None) => PacketBody::Connect(Map::new()),
            ("0", None, Some(json)) if json.len() <= MAX_CONNECT_BYTES => {
                PacketBody::Connect(serde_json::from_str(json).map_err(malformed)?)
            }
            ("0", None, Some(_)) => PacketBody::LargeConnect,
            ("1", None, None) => PacketBody::Disconnect,
            ("2" | "5", id, Some(json)) => {
                PacketBody::Event(ClientEvent::decode(array(text, json)?, id, attachments)?)
            }
            ("3" | "6", Some(id), Some(json)) => {
                let args = array(text, json)?;
                check_placeholders(&args, attachments)?;
                PacketBody::Ack { id, args, attachments: Vec::new() }
            }
            _ => return Err(MalformedSocketPacket),
        };
        let namespace = match namespace {
            Some(name) => text.slice_ref(name),
            None => ByteString::from_static(DEFAULT_NAMESPACE),
        };
        Ok(DecodedPacket { packet: Self { namespace, body }, attachments })
    }

    /// Adds an attachment.
    fn attach(&mut self, attachment: Bytes) {
        match &mut self.body {
            PacketBody::Event(event) => event.attachments.push(attachment),
            PacketBody::Ack { attachments, .. } => attachments.push(attachment),
            PacketBody::Connect(_) | PacketBody::LargeConnect | PacketBody::Disconnect => {}
        }
    }
}

pub(super) fn malformed(_: serde_json::Error) -> MalformedSocketPacket {
    MalformedSocketPacket
}

/// Checks that the rest of a text is one JSON array, and trims the white space around it.
fn array(text: &ByteString, json: &str) -> Result<ByteString, MalformedSocketPacket> {
    let value: &RawValue = serde_json::from_str(json).map_err(malformed)?;
    if value.get().starts_with('[') { Ok(text.slice_ref(value.get())) } else { Err(MalformedSocketPacket) }
}

fn attachments(text: &str) -> Result<(usize, &str), MalformedSocketPacket> {
    let (count, rest) = text.split_once('-').ok_or(MalformedSocketPacket)?;
    let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
    match count.parse() {
        Ok(count) if (1..=MAX_ATTACHMENTS).contains(&count) && is_number => Ok((count, rest)),
        _ => Err(MalformedSocketPacket),
    }
}

fn namespace(text: &str) -> (Option<&str>, &str) {
    if !text.starts_with('/') {
        return (None, text);
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    (Some(name), rest)
}

fn id(text: &str) -> Result<(Option<u64>, &str), MalformedSocketPacket> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok((None, text));
    }
    let (id, rest) = text.split_at(digits);
    Ok((Some(id.parse().map_err(|_too_long| MalformedSocketPacket)?), rest))
}

/// Encodes the text of a packet after the engine's digit of a message.
#[must_use]
pub fn encode_packet(
    kind: char,
    attachments: usize,
    namespace: &str,
    id: Option<u64>,
    json: &str,
) -> ByteString {
    let mut text = String::with_capacity(json.len() + namespace.len() + 16);
    text.push('4');
    text.push(kind);
    if attachments > 0 {
        text.push_str(&format!("{attachments}-"));
    }
    if namespace != DEFAULT_NAMESPACE {
        text.push_str(namespace);
        text.push(',');
    }
    if let Some(id) = id {
        text.push_str(&id.to_string());
    }
    text.push_str(json);
    text.into()
}

/// Joins a packet and the attachments that follow it in messages of their own, one packet at a time.
pub(super) struct PacketAssembly {
    max_bytes: usize,
    pending: Option<Box<PendingPacket>>,
}

struct PendingPacket {
    packet: SocketPacket,
    missing_attachments: usize,
    bytes: usize,
}

/// Why a message is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssemblyError {
    Malformed,
    /// An attachment without a packet, or a packet instead of an attachment.
    OutOfOrder,
    TooLarge,
}

impl PacketAssembly {
    /// `max_bytes` limits a packet and its attachments together.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, pending: None }
    }

    /// Adds a message. Returns the packet that is complete with it.
    pub(super) fn add(&mut self, message: EngineMessage) -> Result<Option<SocketPacket>, AssemblyError> {
        match message {
            EngineMessage::Text(text) => self.start(&text),
            EngineMessage::Binary(attachment) => {
                let mut pending = self.pending.take().ok_or(AssemblyError::OutOfOrder)?;
                pending.bytes += attachment.len();
                if pending.bytes > self.max_bytes {
                    return Err(AssemblyError::TooLarge);
                }
                pending.packet.attach(attachment);
                pending.missing_attachments -= 1;
                if pending.missing_attachments == 0 {
                    return Ok(Some(pending.packet));
                }
                self.pending = Some(pending);
                Ok(None)
            }
        }
    }

    fn start(&mut self, text: &ByteString) -> Result<Option<SocketPacket>, AssemblyError> {
        if self.pending.is_some() {
            return Err(AssemblyError::OutOfOrder);
        }
        let decoded = SocketPacket::decode(text).map_err(|MalformedSocketPacket| AssemblyError::Malformed)?;
        if decoded.attachments == 0 {
            return Ok(Some(decoded.packet));
        }
        let (packet, missing_attachments) = (decoded.packet, decoded.attachments);
        self.pending = Some(Box::new(PendingPacket { packet, missing_attachments, bytes: text.len() }));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decode(text: &str) -> Result<DecodedPacket, MalformedSocketPacket> {
        SocketPacket::decode(&ByteString::from(text))
    }

    #[test]
    fn a_packet_is_type_namespace_id_and_json() {
        let decoded = decode("2/custom,12[\"message\",1,\"2\"]").unwrap();
        assert_eq!(decoded.packet.namespace, "/custom");
        let PacketBody::Event(event) = decoded.packet.body else { panic!("an event") };
        assert_eq!((&*event.name, event.id, event.first::<u32>().unwrap()), ("message", Some(12), Some(1)));
        let PacketBody::Connect(auth) = decode("0/custom,{\"token\":\"abc\"}").unwrap().packet.body else {
            panic!("a connect")
        };
        assert_eq!(Value::Object(auth), json!({"token": "abc"}));
        assert_eq!(decode("0/random").unwrap().packet.namespace, "/random");
        assert_eq!(decode("1").unwrap().packet.body, PacketBody::Disconnect);
    }

    #[test]
    fn attachments_are_counted_and_their_placeholders_checked() {
        let two = r#"52-["m",{"_placeholder":true,"num":1},[{"x":{"_placeholder":true,"num":0}}]]"#;
        assert_eq!(decode(two).unwrap().attachments, 2);
        for bad in [
            r#"51-["m",{"_placeholder":true,"num":1}]"#,
            r#"51-["m",{"_placeholder":true,"num":-1}]"#,
            r#"51-["m",{"_placeholder":true,"num":"0"}]"#,
            r#"51-["m",{"_placeholder":true}]"#,
            r#"511-["m"]"#,
            r#"50-["m"]"#,
            r#"51-["m",{"_placeholder":true,"num":0,"num":"x"}]"#,
            r#"5["m"]"#,
            r#"5+1-["m"]"#,
            r#"5-["m"]"#,
        ] {
            assert_eq!(decode(bad), Err(MalformedSocketPacket), "{bad}");
        }
    }

    #[test]
    fn credentials_are_limited() {
        let auth = |bytes: usize| format!("0{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert!(decode(&auth(MAX_CONNECT_BYTES)).is_ok());
        assert_eq!(decode(&auth(MAX_CONNECT_BYTES + 1)).unwrap().packet.body, PacketBody::LargeConnect);
    }

    #[test]
    fn a_packet_that_no_client_sends_is_malformed() {
        for bad in [
            "",
            "7",
            "abc",
            "2",
            "2{}",
            "2[]",
            "2[true]",
            "2[{}]",
            "2abc[\"m\"]",
            "2[\"m\"",
            "2[\"m\"]x",
            "0[]",
            "0\"a\"",
            "1{}",
            "11",
            "3[]",
            "31{}",
            "4{\"message\":\"x\"}",
            "2[\"connect\"]",
            "2[\"connect_error\"]",
            "2[\"disconnect\"]",
            "2[\"disconnecting\"]",
            "2[\"newListener\"]",
            "2[\"removeListener\"]",
            "299999999999999999999[\"m\"]",
            "01{}",
        ] {
            assert_eq!(decode(bad), Err(MalformedSocketPacket), "{bad}");
        }
    }
}
