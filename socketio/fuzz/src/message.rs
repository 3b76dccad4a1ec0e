//! A text that may be a Socket.IO packet: a packet that is decoded can be encoded and decoded again.

use amoiq_socketio::{
    engine::{EngineMessage, EnginePacket, OutgoingPacket},
    socket::{
        DecodedPacket, MAX_ATTACHMENTS, MAX_CONNECT_BYTES, OutgoingEvent, PacketBody, SocketPacket,
        encode_packet,
    },
};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Value, value::RawValue};

/// Checks one message of a client.
///
/// # Panics
/// When the codec is wrong about it.
pub fn check(text: &ByteString) {
    let Ok(decoded) = SocketPacket::decode(text) else { return };
    let is_binary = text.starts_with(['5', '6']);
    assert_eq!(is_binary, decoded.attachments > 0, "attachments are what makes a packet binary");
    assert!(decoded.attachments <= MAX_ATTACHMENTS, "more attachments than a packet may have");
    let again = read(&written(&decoded));
    assert_eq!(decoded.attachments, again.attachments);
    assert_eq!(decoded.packet.namespace, again.packet.namespace);
    match (&decoded.packet.body, &again.packet.body) {
        (PacketBody::Connect(auth), PacketBody::Connect(again)) => assert!(auth.keys().eq(again.keys())),
        (PacketBody::Event(event), PacketBody::Event(again)) => {
            assert!(event.size_bytes() <= text.len(), "an event larger than what it was read from");
            assert!(array(&event.args()), "arguments that are no array");
            assert_eq!((&event.name, event.id, event.args()), (&again.name, again.id, again.args()));
        }
        (body, again) => assert_eq!(body, again),
    }
}

/// A packet as it would be sent on, with the engine's digit.
fn written(DecodedPacket { packet, attachments }: &DecodedPacket) -> OutgoingPacket {
    let namespace = &packet.namespace;
    match &packet.body {
        PacketBody::Connect(auth) => {
            let auth = Value::Object(auth.clone()).to_string();
            OutgoingPacket::text(&encode_packet('0', 0, namespace, None, &auth))
        }
        // Its content is not read, so any other content does.
        PacketBody::LargeConnect => {
            let auth = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_CONNECT_BYTES));
            OutgoingPacket::text(&encode_packet('0', 0, namespace, None, &auth))
        }
        PacketBody::Disconnect => OutgoingPacket::text(&encode_packet('1', 0, namespace, None, "")),
        PacketBody::Event(event) => {
            let attached = vec![Bytes::new(); *attachments];
            let outgoing = OutgoingEvent::with_args(&event.name, &event.args(), attached);
            let mut packets = outgoing.packets(namespace, event.id, false);
            let text = packets.next().expect("the packet itself");
            assert_eq!(packets.count(), *attachments, "each attachment is a packet");
            text
        }
        PacketBody::Ack { id, args, .. } => {
            assert!(array(args), "arguments that are no array");
            let kind = if *attachments > 0 { '6' } else { '3' };
            OutgoingPacket::text(&encode_packet(kind, *attachments, namespace, Some(*id), args))
        }
    }
}

fn read(packet: &OutgoingPacket) -> DecodedPacket {
    let text = packet.as_text().expect("a packet is a text");
    match EnginePacket::decode_text(&text.into()) {
        Ok(EnginePacket::Message(EngineMessage::Text(message))) => {
            SocketPacket::decode(&message).unwrap_or_else(|_| panic!("cannot be read again: {message}"))
        }
        other => panic!("not a message: {text}: {other:?}"),
    }
}

fn array(json: &str) -> bool {
    serde_json::from_str::<&RawValue>(json).is_ok_and(|value| value.get() == json && json.starts_with('['))
}
