//! What goes over an engine's connection: type, namespace, acknowledgement id and JSON.
//!
//! `<type>[<attachments>-][/<namespace>,][<id>][<JSON>]`. Decoding is strict: what the protocol's own
//! parser refuses is [`Malformed`], and so is a packet that only a server sends. No value is built
//! here: the JSON is checked and kept as text.

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Map, Value, value::RawValue};

use super::event::{self, Event};

/// The most attachments of one packet.
pub const MAX_ATTACHMENTS: usize = 10;

/// The most that a client may say of itself, in bytes: its JSON becomes values, which take many times as
/// much, before anybody knows who it is.
pub const MAX_CONNECT_BYTES: usize = 16 * 1024;

/// The namespace that a packet without one is for.
pub const DEFAULT_NAMESPACE: &str = "/";

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// For which namespace.
    pub namespace: ByteString,
    /// What it says.
    pub body: Body,
}

/// What a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Wants to take part, with these credentials.
    Connect(Map<String, Value>),
    /// The same with more than [`MAX_CONNECT_BYTES`], which nobody reads.
    LargeConnect,
    /// Leaves the namespace.
    Disconnect,
    /// Something happened.
    Event(Event),
    /// The answer to an event of the server.
    Ack {
        /// Which.
        id: u64,
        /// A JSON array.
        args: ByteString,
        /// Binary, where the array has placeholders.
        attachments: Vec<Bytes>,
    },
}

/// The text is no packet that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", Malformed::TEXT)]
pub struct Malformed;

impl Malformed {
    /// What the client is told.
    pub const TEXT: &str = "Not a Socket.IO 5 packet that a client may send";
}

/// A packet and the number of attachments that have yet to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Without its attachments.
    pub packet: Packet,
    /// How many binary messages belong to it.
    pub attachments: usize,
}

impl Packet {
    /// Reads a text message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(text: &ByteString) -> Result<Decoded, Malformed> {
        let (kind, rest) = text.split_at_checked(1).ok_or(Malformed)?;
        let is_binary = matches!(kind, "5" | "6");
        let (attachments, rest) = if is_binary { attachments(rest)? } else { (0, rest) };
        let (namespace, rest) = namespace(rest);
        let (id, json) = id(rest)?;
        let json = Some(json).filter(|json| !json.is_empty());
        let body = match (kind, id, json) {
            ("0", None, None) => Body::Connect(Map::new()),
            ("0", None, Some(json)) if json.len() <= MAX_CONNECT_BYTES => {
                Body::Connect(serde_json::from_str(json).map_err(malformed)?)
            }
            ("0", None, Some(_)) => Body::LargeConnect,
            ("1", None, None) => Body::Disconnect,
            ("2" | "5", id, Some(json)) => Body::Event(Event::decode(array(text, json)?, id, attachments)?),
            ("3" | "6", Some(id), Some(json)) => {
                let args = array(text, json)?;
                event::check_placeholders(&args, attachments)?;
                Body::Ack { id, args, attachments: Vec::new() }
            }
            _ => return Err(Malformed),
        };
        let namespace = match namespace {
            Some(name) => text.slice_ref(name),
            None => ByteString::from_static(DEFAULT_NAMESPACE),
        };
        Ok(Decoded { packet: Self { namespace, body }, attachments })
    }

    /// Adds an attachment.
    pub(super) fn attach(&mut self, attachment: Bytes) {
        match &mut self.body {
            Body::Event(event) => event.attachments.push(attachment),
            Body::Ack { attachments, .. } => attachments.push(attachment),
            Body::Connect(_) | Body::LargeConnect | Body::Disconnect => {}
        }
    }
}

pub(super) fn malformed(_: serde_json::Error) -> Malformed {
    Malformed
}

/// Checks that the rest of a text is one JSON array, and cuts it out of the white space around it.
fn array(text: &ByteString, json: &str) -> Result<ByteString, Malformed> {
    let value: &RawValue = serde_json::from_str(json).map_err(malformed)?;
    if value.get().starts_with('[') { Ok(text.slice_ref(value.get())) } else { Err(Malformed) }
}

fn attachments(text: &str) -> Result<(usize, &str), Malformed> {
    let (count, rest) = text.split_once('-').ok_or(Malformed)?;
    let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
    match count.parse() {
        Ok(count) if (1..=MAX_ATTACHMENTS).contains(&count) && is_number => Ok((count, rest)),
        _ => Err(Malformed),
    }
}

fn namespace(text: &str) -> (Option<&str>, &str) {
    if !text.starts_with('/') {
        return (None, text);
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    (Some(name), rest)
}

fn id(text: &str) -> Result<(Option<u64>, &str), Malformed> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok((None, text));
    }
    let (id, rest) = text.split_at(digits);
    Ok((Some(id.parse().map_err(|_too_long| Malformed)?), rest))
}

/// Writes a packet's text with the engine's digit of a message before it.
#[must_use]
pub fn encode(kind: char, attachments: usize, namespace: &str, id: Option<u64>, json: &str) -> ByteString {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decode(text: &str) -> Result<Decoded, Malformed> {
        Packet::decode(&ByteString::from(text))
    }

    #[test]
    fn a_packet_is_type_namespace_id_and_json() {
        let decoded = decode("2/custom,12[\"message\",1,\"2\"]").unwrap();
        assert_eq!(decoded.packet.namespace, "/custom");
        let Body::Event(event) = decoded.packet.body else { panic!("an event") };
        assert_eq!((&*event.name, event.id, event.first::<u32>().unwrap()), ("message", Some(12), Some(1)));
        let Body::Connect(auth) = decode("0/custom,{\"token\":\"abc\"}").unwrap().packet.body else {
            panic!("a connect")
        };
        assert_eq!(Value::Object(auth), json!({"token": "abc"}));
        assert_eq!(decode("0/random").unwrap().packet.namespace, "/random");
        assert_eq!(decode("1").unwrap().packet.body, Body::Disconnect);
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
            assert_eq!(decode(bad), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn what_a_client_says_of_itself_is_bounded() {
        let auth = |bytes: usize| format!("0{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert!(decode(&auth(MAX_CONNECT_BYTES)).is_ok());
        assert_eq!(decode(&auth(MAX_CONNECT_BYTES + 1)).unwrap().packet.body, Body::LargeConnect);
    }

    #[test]
    fn what_no_client_sends_is_malformed() {
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
            assert_eq!(decode(bad), Err(Malformed), "{bad}");
        }
    }
}
