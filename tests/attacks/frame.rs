//! Websocket frames, made and read by hand: what attacks is below what a library would let one send.
//!
//! Frames of clients are masked with zeros, which is a mask like any other and leaves the payload as it
//! is. Frames of the server are taken as they come; it does not check what the server has to keep to.

use bytes::{Buf, BytesMut};

/// The first byte of a whole text.
pub const TEXT: u8 = 0x81;
/// The first byte of a text that goes on.
pub const TEXT_BEGIN: u8 = 0x01;
/// The first byte of a piece in the middle.
pub const PIECE: u8 = 0x00;
/// The first byte of whole binary.
pub const BINARY: u8 = 0x82;

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text, or what should be one.
    Text(String),
    /// The end, with its close code if there is one.
    Close(Option<u16>),
    /// Anything else.
    Other,
}

/// A header that declares so much payload, which need not follow.
pub fn header(first: u8, payload_bytes: u64) -> Vec<u8> {
    let mut frame = vec![first];
    if let Ok(short @ 0..126) = u8::try_from(payload_bytes) {
        frame.push(0x80 | short);
    } else if let Ok(medium) = u16::try_from(payload_bytes) {
        frame.push(0x80 | 126);
        frame.extend(medium.to_be_bytes());
    } else {
        frame.push(0x80 | 127);
        frame.extend(payload_bytes.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame
}

/// A frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// Takes the first whole frame off what was read.
pub fn take(read: &mut BytesMut) -> Option<Frame> {
    let (first, second) = (*read.first()?, *read.get(1)?);
    let extended = |count: usize| {
        let bytes = read.get(2..2 + count)?;
        Some(bytes.iter().fold(0_usize, |size, byte| size << 8 | usize::from(*byte)))
    };
    let (head, size) = match second & 0x7f {
        126 => (4, extended(2)?),
        127 => (10, extended(8)?),
        short => (2, usize::from(short)),
    };
    if read.len() < head + size {
        return None;
    }
    read.advance(head);
    let payload = read.split_to(size);
    Some(match first & 0x0f {
        1 => Frame::Text(String::from_utf8_lossy(&payload).into_owned()),
        8 => Frame::Close(
            payload.get(..2).map(|code| code.iter().fold(0, |code, byte| code << 8 | u16::from(*byte))),
        ),
        _ => Frame::Other,
    })
}
