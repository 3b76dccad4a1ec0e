//! The bytes of a websocket: the guard, the reader after it, and the packets in the frames.
//!
//! The first byte decides how the stream is cut; the rest is the stream. The result of the guard must not depend on the
//! cuts, and the reader has to accept what it lets through, within the limit.

use amoiq_socketio::engine::{
    EngineMessage, EnginePacket, FrameReader, FrameScan, FrameViolation, WebSocketInput,
};
use bytestring::ByteString;

use super::message;

/// Small, so that short inputs reach it.
const MAX_MESSAGE_BYTES: usize = 1_024;

/// The most payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: usize = 125;

/// Checks a stream.
///
/// # Panics
/// When the codec is wrong about it.
pub fn check(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let (passed, result) = scan(stream, |_| 1);
    let (_, whole) = scan(stream, |_| stream.len());
    let (_, cut_somehow) = scan(stream, |number| 1 + (usize::from(cut) * 31 + number * 7) % 29);
    assert_eq!(result, whole, "the guard judges a whole stream as it judges its bytes");
    assert_eq!(result, cut_somehow, "the guard does not care where a stream is cut");
    read(stream.get(..passed).expect("a part of it"));
}

/// Scans a stream in pieces: how many bytes pass, and the result.
fn scan(stream: &[u8], size_of: impl Fn(usize) -> usize) -> (usize, Result<(), FrameViolation>) {
    let mut guard = FrameScan::new(MAX_MESSAGE_BYTES);
    let (mut passed, mut number) = (0, 0);
    while let Some(rest) = stream.get(passed..).filter(|rest| !rest.is_empty()) {
        let (piece, _) = rest.split_at(size_of(number).min(rest.len()));
        if let Err(violation) = guard.scan(piece) {
            return (passed, Err(violation));
        }
        passed += piece.len();
        number += 1;
    }
    (passed, Ok(()))
}

/// Reads what the guard let through, as far as a connection would.
fn read(stream: &[u8]) {
    let mut reader = FrameReader::new(MAX_MESSAGE_BYTES);
    reader.add(stream);
    loop {
        match reader.next_input() {
            Ok(Some(WebSocketInput::Message(EngineMessage::Text(text)))) => {
                assert!(text.len() <= MAX_MESSAGE_BYTES, "a message over the limit");
                if !understood(&text) {
                    return;
                }
            }
            Ok(Some(WebSocketInput::Message(EngineMessage::Binary(bytes)))) => {
                assert!(bytes.len() <= MAX_MESSAGE_BYTES, "a message over the limit");
            }
            Ok(Some(WebSocketInput::Ping(payload))) => assert!(payload.len() <= MAX_CONTROL_BYTES),
            Ok(Some(WebSocketInput::Close) | None)
            | Err(FrameViolation::NotText | FrameViolation::Protocol) => {
                return;
            }
            Err(FrameViolation::TooLarge) => panic!("the guard let through what its reader refuses"),
        }
    }
}

/// Reads a text message. False when a connection would end at it.
fn understood(text: &ByteString) -> bool {
    let Ok(packet) = EnginePacket::decode_text(text) else { return false };
    assert!(packet.size_bytes() < text.len(), "a packet carries more than it was read from");
    if let EnginePacket::Message(EngineMessage::Text(message)) = &packet {
        message::check(message);
    }
    true
}
