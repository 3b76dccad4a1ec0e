//! Websocket frames by hand. Those of a client are masked with zeros, which is a valid mask and changes nothing.

use std::io::{self, ErrorKind};

/// The first byte of a whole text, and of a whole pong.
const TEXT: u8 = 0x81;
const PONG: u8 = 0x8a;

/// A frame of the server.
pub enum ServerFrame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close,
    Other,
}

/// A whole text of a client.
pub fn text(payload: &[u8]) -> Vec<u8> {
    frame(TEXT, payload)
}

/// The answer to a ping of the protocol.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The first frame of these bytes, if it is whole, and what follows it.
pub fn take(bytes: &[u8]) -> Option<(ServerFrame<'_>, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (size, rest) = match second {
        126 => rest.split_first_chunk().map(|(size, rest)| (u64::from(u16::from_be_bytes(*size)), rest))?,
        127 => rest.split_first_chunk().map(|(size, rest)| (u64::from_be_bytes(*size), rest))?,
        short => (u64::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(size).ok()?)?;
    let frame = match first {
        TEXT => ServerFrame::Text(payload),
        0x89 => ServerFrame::Ping(payload),
        0x88 => ServerFrame::Close,
        _ => ServerFrame::Other,
    };
    Some((frame, rest))
}

/// Gives each whole frame to `handle`. Returns how many bytes they were. A close ends the connection.
pub fn take_all(bytes: &[u8], mut handle: impl FnMut(ServerFrame<'_>)) -> io::Result<usize> {
    let mut rest = bytes;
    while let Some((frame, after)) = take(rest) {
        match frame {
            ServerFrame::Close => return Err(ErrorKind::ConnectionAborted.into()),
            frame => handle(frame),
        }
        rest = after;
    }
    Ok(bytes.len() - rest.len())
}
