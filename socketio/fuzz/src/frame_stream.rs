//! The bytes of a websocket: the guard, the reader after it, and the packets in the frames.
//!
//! The first byte decides how the stream is cut; the rest is the stream. The result of the guard must not depend on the
//! cuts, and the reader has to accept what it lets through, within the limit.

use actix_http::ws::{OpCode, Parser};
use amoiq_socketio::engine::{EngineMessage, EnginePacket, FrameScan, FrameViolation};
use bytes::BytesMut;
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
    let mut bytes = BytesMut::from(stream);
    // The fragments of a message whose last frame has not come, and whether it is text.
    let mut fragments: Option<(bool, BytesMut)> = None;
    loop {
        let Ok(frame) = Parser::parse(&mut bytes, true, MAX_MESSAGE_BYTES) else {
            assert!(!has_size(&bytes), "the guard let through what its reader refuses");
            return;
        };
        let Some((is_final, code, payload)) = frame else { return };
        let payload = payload.unwrap_or_default();
        match code {
            OpCode::Text | OpCode::Binary => {
                assert!(fragments.is_none(), "a message in a message");
                fragments = Some((code == OpCode::Text, payload));
            }
            OpCode::Continue => {
                let (_, so_far) = fragments.as_mut().expect("a continuation of something");
                so_far.extend_from_slice(&payload);
            }
            OpCode::Ping | OpCode::Pong | OpCode::Close | OpCode::Bad => {
                assert!(code != OpCode::Bad && is_final && payload.len() <= MAX_CONTROL_BYTES);
                continue;
            }
        }
        let size = fragments.as_ref().map_or(0, |(_, so_far)| so_far.len());
        assert!(size <= MAX_MESSAGE_BYTES, "a message over the limit");
        if is_final && fragments.take().is_some_and(|(is_text, whole)| is_text && !understood(whole)) {
            return;
        }
    }
}

/// Whether there is enough of a header for the guard to have judged it; the reader looks at some of it
/// before.
fn has_size(header: &[u8]) -> bool {
    match header {
        [_, 0xfe, size @ ..] => size.len() >= 2,
        [_, 0xff, size @ ..] => size.len() >= 8,
        _ => header.len() >= 2,
    }
}

/// Reads a text message. False when a connection would end at it.
fn understood(text: BytesMut) -> bool {
    let Ok(text) = ByteString::try_from(text) else { return false };
    let Ok(packet) = EnginePacket::decode_text(&text) else { return false };
    assert!(packet.size_bytes() < text.len(), "a packet carries more than it was read from");
    if let EnginePacket::Message(EngineMessage::Text(message)) = &packet {
        message::check(message);
    }
    true
}
