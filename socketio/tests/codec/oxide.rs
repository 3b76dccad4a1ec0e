//! Another implementation of both protocols: what it reads, and how it writes.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use amoiq_socketio::{
    engine::{EngineMessage, EnginePacket},
    socket::MAX_ATTACHMENTS,
};
use bytes::Bytes;
use engineioxide_core::{Packet as TheirPacket, PacketParseError, ProtocolVersion, payload::decoder};
use futures_core::Stream;
use serde_json::Value;
use socketioxide_core::{
    Str, Value as TheirValue,
    packet::{Packet as TheirMessage, PacketData},
    parser::{Parse, ParseConfig, ParseError, ParserState},
};
use socketioxide_parser_common::CommonParser;

use super::meaning::{Kind, Meaning};

/// A packet of theirs as one of ours; none when only servers send it.
fn translated(packet: TheirPacket) -> Option<EnginePacket> {
    match packet {
        TheirPacket::Close => Some(EnginePacket::Close),
        TheirPacket::Pong => Some(EnginePacket::Pong),
        TheirPacket::PingUpgrade => Some(EnginePacket::Probe),
        TheirPacket::Upgrade => Some(EnginePacket::Upgrade),
        TheirPacket::Message(text) => Some(EnginePacket::Message(EngineMessage::Text(text.as_str().into()))),
        TheirPacket::Binary(bytes) => Some(EnginePacket::Message(EngineMessage::Binary(bytes))),
        _ => None,
    }
}

/// Their reading of an engine packet, which may be one that only servers send.
pub fn packet(text: &str) -> Option<Option<EnginePacket>> {
    TheirPacket::parse(ProtocolVersion::V4, text.to_owned()).ok().map(translated)
}

/// Their reading of a body, unless they refuse one of its packets.
pub fn payload(body: &str) -> Option<Vec<Option<EnginePacket>>> {
    let mut packets = pin!(decoder(body.to_owned(), None, ProtocolVersion::V4, u64::MAX));
    let mut read = Vec::new();
    loop {
        match packets.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(packet))) => read.push(translated(packet)),
            Poll::Ready(Some(Err(PacketParseError::PayloadTooLarge { .. }))) => panic!("there is no limit"),
            Poll::Ready(Some(Err(_refused))) => return None,
            Poll::Ready(None) => return Some(read),
            Poll::Pending => panic!("a body that is there is read at once"),
        }
    }
}

/// How they write a packet that a client sends.
pub fn written(packet: &EnginePacket) -> String {
    TheirPacket::into(match packet {
        EnginePacket::Close => TheirPacket::Close,
        EnginePacket::Probe => TheirPacket::PingUpgrade,
        EnginePacket::Pong => TheirPacket::Pong,
        EnginePacket::Upgrade => TheirPacket::Upgrade,
        EnginePacket::Message(EngineMessage::Text(text)) => TheirPacket::Message(Str::copy_from_slice(text)),
        EnginePacket::Message(EngineMessage::Binary(bytes)) => TheirPacket::Binary(bytes.clone()),
    })
}

/// Their reading of a message, with attachments if it needs any.
pub fn message(text: &str) -> Option<Meaning> {
    let state = ParserState::default();
    let config = ParseConfig { max_incoming_binaries: MAX_ATTACHMENTS, ..ParseConfig::default() };
    let mut read = CommonParser.decode_str(&config, &state, Str::copy_from_slice(text));
    let mut attachments = 0;
    while matches!(read, Err(ParseError::NeedsMoreBinaryData)) {
        attachments += 1;
        read = CommonParser.decode_bin(&config, &state, Bytes::from_static(b"x"));
    }
    let TheirMessage { inner, ns } = read.ok()?;
    let (kind, id, name, value) = match &inner {
        PacketData::Connect(auth) => {
            (Kind::Connect, None, None, CommonParser.decode_default(auth.as_ref()).ok())
        }
        PacketData::Disconnect => (Kind::Disconnect, None, None, None),
        PacketData::Event(data, id) | PacketData::BinaryEvent(data, id) => {
            let name = CommonParser.read_event(data).ok().map(str::to_owned);
            (Kind::Event, *id, name, array(data, 1))
        }
        PacketData::EventAck(data, id) | PacketData::BinaryAck(data, id) => {
            (Kind::Ack, Some(*id), None, array(data, 0))
        }
        PacketData::ConnectError(_) => panic!("they refuse it too"),
    };
    let id = id.map(|id| u64::try_from(id).expect("digits have no sign"));
    Some(Meaning { kind, namespace: ns.to_string(), id, name, value, attachments })
}

/// The elements of an array after the first `skipped`.
fn array(data: &TheirValue, skipped: usize) -> Option<Value> {
    let elements: Vec<Value> = serde_json::from_str(data.as_str()?).ok()?;
    Some(elements.into_iter().skip(skipped).collect())
}

/// How they write an event with one argument.
pub fn event(namespace: &str, id: Option<u64>, name: &str, argument: &Value) -> String {
    let data = CommonParser.encode_value(argument, Some(name)).expect("JSON");
    let mut message = TheirMessage::event(namespace.to_owned(), data);
    if let Some(id) = id {
        message.inner.set_ack_id(i64::try_from(id).expect("an id that they can hold"));
    }
    text_of(message)
}

/// How they refuse a client in the default namespace.
pub fn connect_error(message: &str) -> String {
    text_of(TheirMessage::connect_error("/", message))
}

/// An event whose data is bytes, as another parser of theirs makes it.
pub fn event_of_bytes() -> String {
    text_of(TheirMessage::event("/", TheirValue::Bytes(Bytes::from_static(b"x"))))
}

fn text_of(message: TheirMessage) -> String {
    CommonParser.encode(message).as_str().expect("a text").to_string()
}
