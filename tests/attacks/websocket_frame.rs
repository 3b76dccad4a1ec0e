//! Websocket frames without a library, which would not send what attacks.
//!
//! Frames of clients are masked with zeros, which is a valid mask and leaves the payload unchanged. Frames of the server
//! are not validated.

use bytes::{Buf, BytesMut};

/// The first byte of a whole text.
pub const TEXT: u8 = 0x81;
/// The first byte of the first fragment of a text.
pub const TEXT_START: u8 = 0x01;
/// The first byte of a fragment in the middle.
pub const CONTINUATION: u8 = 0x00;
/// The first byte of whole binary.
pub const BINARY: u8 = 0x82;

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// A text, even if it is not UTF-8.
    Text(String),
    /// A close frame and its code.
    Close(Option<u16>),
    /// Anything else.
    Other,
}

/// A header that announces so much payload.
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

/// Takes the first whole frame from the buffer.
pub fn take(read: &mut BytesMut) -> Option<ServerFrame> {
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
        1 => ServerFrame::Text(String::from_utf8_lossy(&payload).into_owned()),
        8 => ServerFrame::Close(
            payload.get(..2).map(|code| code.iter().fold(0, |code, byte| code << 8 | u16::from(*byte))),
        ),
        _ => ServerFrame::Other,
    })
}
