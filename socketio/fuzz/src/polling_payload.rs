//! The body of a POST is decoded whole or not at all.
//!
//! A body is refused when it is not UTF-8, when one of its packets alone is refused, or when there are too many. A body
//! that is decoded can be encoded again, byte for byte.

use amoiq_socketio::engine::{EngineMessage, EnginePacket, OutgoingPacket, decode_payload, encode_payload};
use bytes::Bytes;

use super::message;

/// The most packets of a body.
const MAX_PACKETS: usize = 10_000;

/// Checks a body.
///
/// # Panics
/// When the codec is wrong about it.
pub fn check(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let parts: Vec<_> = body.split(|byte| *byte == 0x1e).map(|part| body.slice_ref(part)).collect();
    let Ok(packets) = decode_payload(body.clone()) else {
        let is_wrong = |part: &Bytes| decode_payload(part.clone()).is_err();
        assert!(parts.len() > MAX_PACKETS || parts.iter().any(is_wrong), "refused for no reason");
        return;
    };
    assert_eq!(packets.len(), parts.len(), "a packet between every two separators");
    let written: Vec<_> = packets.iter().map(written).collect();
    assert_eq!(encode_payload(&written).as_bytes(), data, "written as it was read");
    for packet in &packets {
        if let EnginePacket::Message(EngineMessage::Text(text)) = packet {
            message::check(text);
        }
    }
}

fn written(packet: &EnginePacket) -> OutgoingPacket {
    match packet {
        EnginePacket::Close => OutgoingPacket::CLOSE,
        EnginePacket::Probe => OutgoingPacket::text("2probe"),
        EnginePacket::Pong => OutgoingPacket::text("3"),
        EnginePacket::Upgrade => OutgoingPacket::text("5"),
        EnginePacket::Message(data) => OutgoingPacket::message(data),
    }
}
