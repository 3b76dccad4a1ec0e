//! The bytes of a websocket: the guard, the reader behind it, and what the frames say.
//!
//! The first byte decides how the stream is cut; the rest is the stream. The guard's verdict may not
//! depend on the cuts, and what it lets through the reader takes without an error, within the limit.

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
    let (passed, verdict) = scan(stream, |_| 1);
    let (_, whole) = scan(stream, |_| stream.len());
    let (_, cut_somehow) = scan(stream, |number| 1 + (usize::from(cut) * 31 + number * 7) % 29);
    assert_eq!(verdict, whole, "the guard judges a whole stream as it judges its bytes");
    assert_eq!(verdict, cut_somehow, "the guard does not care where a stream is cut");
    read(stream.get(..passed).expect("a part of it"));
}

/// Follows a stream in pieces: how many bytes were let through, and the verdict.
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
    // The message that has begun and not ended, and whether it is text.
    let mut begun: Option<(bool, BytesMut)> = None;
    loop {
        let Ok(frame) = Parser::parse(&mut bytes, true, MAX_MESSAGE_BYTES) else {
            assert!(!has_size(&bytes), "the guard let through what its reader refuses");
            return;
        };
        let Some((is_final, code, payload)) = frame else { return };
        let payload = payload.unwrap_or_default();
        match code {
            OpCode::Text | OpCode::Binary => {
                assert!(begun.is_none(), "a message in a message");
                begun = Some((code == OpCode::Text, payload));
            }
            OpCode::Continue => {
                let (_, so_far) = begun.as_mut().expect("a continuation of something");
                so_far.extend_from_slice(&payload);
            }
            OpCode::Ping | OpCode::Pong | OpCode::Close | OpCode::Bad => {
                assert!(code != OpCode::Bad && is_final && payload.len() <= MAX_CONTROL_BYTES);
                continue;
            }
        }
        let size = begun.as_ref().map_or(0, |(_, so_far)| so_far.len());
        assert!(size <= MAX_MESSAGE_BYTES, "a message over the limit");
        if is_final && begun.take().is_some_and(|(is_text, whole)| is_text && !understood(whole)) {
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

/// Reads a text message. Not when a connection would end at it.
fn understood(text: BytesMut) -> bool {
    let Ok(text) = ByteString::try_from(text) else { return false };
    let Ok(packet) = EnginePacket::decode_text(&text) else { return false };
    assert!(packet.size_bytes() < text.len(), "a packet carries more than it was read from");
    if let EnginePacket::Message(EngineMessage::Text(message)) = &packet {
        message::check(message);
    }
    true
}
