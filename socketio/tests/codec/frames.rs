//! Properties of the reader of frames: those that a client may send pass however they are cut, others do not.

use amoiq_socketio::engine::{EngineMessage, FrameReader, FrameScan, FrameViolation, WebSocketInput};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{checks::frame_stream, client};

const TEXT: u8 = 0x01;
const BINARY: u8 = 0x02;
const CONTINUATION: u8 = 0x00;
const PING: u8 = 0x89;
const FINAL: u8 = 0x80;

/// A frame as a client writes it, and how long its header is.
fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> (Vec<u8>, usize) {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(size @ 0..126) => bytes.push(0x80 | u8::try_from(size).expect("less than 126")),
        Ok(size) => {
            bytes.push(0x80 | 126);
            bytes.extend(size.to_be_bytes());
        }
        Err(_larger) => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    let header = bytes.len();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    (bytes, header)
}

/// A message in as many frames as it has pieces, with a ping before each continuation.
fn fragmented(pieces: &[Vec<u8>], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            bytes.extend(frame(PING, b"there?", mask).0);
        }
        let kind = if number == 0 { TEXT } else { CONTINUATION };
        let last = if number + 1 == pieces.len() { FINAL } else { 0 };
        bytes.extend(frame(kind | last, piece, mask).0);
    }
    bytes
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![
        vec(vec(any::<u8>(), 0..300), 1..5),
        (client::packet(), 1..40_usize).prop_map(|((_, text), size)| {
            // Far fewer pieces than a message may have.
            let size = size.max(text.len() / 100);
            format!("4{text}").as_bytes().chunks(size).map(<[u8]>::to_vec).collect()
        }),
    ]
}

/// What a reader makes of chunks, and why it ends the stream.
fn read(
    chunks: impl Iterator<Item = Vec<u8>>,
    limit: usize,
) -> (Vec<WebSocketInput>, Option<FrameViolation>) {
    let mut reader = FrameReader::new(limit);
    let mut inputs = Vec::new();
    for chunk in chunks {
        reader.add(&chunk);
        loop {
            match reader.next_input() {
                Ok(Some(input)) => inputs.push(input),
                Ok(None) => break,
                Err(violation) => return (inputs, Some(violation)),
            }
        }
    }
    (inputs, None)
}

proptest! {
    #[test]
    fn messages_within_the_limit_pass_however_they_are_fragmented(
        (messages, mask) in (vec(pieces(), 1..4), any::<[u8; 4]>()),
        cut in any::<u8>(),
    ) {
        let largest = messages.iter().map(|pieces| pieces.iter().map(Vec::len).sum()).max().unwrap_or(0);
        let stream: Vec<u8> = messages.iter().flat_map(|pieces| fragmented(pieces, mask)).collect();
        prop_assert_eq!(FrameScan::new(largest).scan(&stream), Ok(()));
        frame_stream::check(&[&[cut], &stream[..]].concat());
    }

    #[test]
    fn a_message_over_the_limit_ends_at_the_header_that_exceeds_it(
        (pieces, mask) in (pieces(), any::<[u8; 4]>()),
        excess in 1..200_usize,
    ) {
        let limit: usize = pieces.iter().map(Vec::len).sum();
        let mut all = pieces;
        all.push(vec![0; excess]);
        let stream = fragmented(&all, mask);
        let before = stream.len() - excess - mask.len();
        let mut scan = FrameScan::new(limit);
        prop_assert_eq!(scan.scan(&stream[..before - 1]), Ok(()));
        prop_assert_eq!(scan.scan(&stream[before - 1..before]), Err(FrameViolation::TooLarge));
    }

    #[test]
    fn a_stream_ends_before_the_chunk_that_breaks_the_rules(
        (pieces, mask, size) in (pieces(), any::<[u8; 4]>(), 1..50_usize),
        bad in prop::sample::select(vec![0x83, 0xc1, 0x09, 0x80]),
    ) {
        // As binary, which is read whatever its bytes are.
        let good: Vec<u8> = pieces.iter().flat_map(|piece| frame(BINARY | FINAL, piece, mask).0).collect();
        let stream = [&good[..], &frame(bad, b"x", mask).0, &good].concat();
        let (before, verdict) = read(stream.chunks(size).map(<[u8]>::to_vec), 10_000);
        prop_assert_eq!(verdict, Some(FrameViolation::Protocol));
        let (all, verdict) = read(good.chunks(size).map(<[u8]>::to_vec), 10_000);
        prop_assert_eq!(verdict, None);
        let sent = pieces.into_iter().map(|piece| WebSocketInput::Message(EngineMessage::Binary(piece.into())));
        prop_assert_eq!(&all, &sent.collect::<Vec<_>>());
        // The second byte of a header is the first that a frame can be refused at.
        let (passed, _) = read(stream[..(good.len() + 1) / size * size].chunks(size).map(<[u8]>::to_vec), 10_000);
        prop_assert_eq!(before, passed);
    }

    #[test]
    fn a_message_is_read_as_it_was_sent_however_it_is_fragmented_and_cut(
        (pieces, mask, size) in (pieces(), any::<[u8; 4]>(), 1..50_usize),
    ) {
        let stream = fragmented(&pieces, mask);
        let (inputs, verdict) = read(stream.chunks(size).map(<[u8]>::to_vec), 100_000);
        let whole = pieces.concat();
        match String::from_utf8(whole) {
            Ok(text) => {
                let (message, pings) = inputs.split_last().expect("the message");
                prop_assert_eq!(verdict, None);
                prop_assert_eq!(message, &WebSocketInput::Message(EngineMessage::Text(text.into())));
                let ping = WebSocketInput::Ping(Bytes::from_static(b"there?"));
                prop_assert_eq!(pings, vec![ping; pieces.len() - 1]);
            }
            Err(_) if pieces.len() == 1 => prop_assert_eq!(verdict, Some(FrameViolation::Protocol)),
            Err(_) => prop_assert_eq!(verdict, Some(FrameViolation::NotText)),
        }
    }

    #[test]
    fn any_bytes_are_judged_the_same_however_they_are_cut(bytes in vec(any::<u8>(), 0..400)) {
        frame_stream::check(&bytes);
    }

    #[test]
    fn a_damaged_stream_is_judged_the_same_however_it_is_cut(
        (messages, mask) in (vec(pieces(), 1..4), prop_oneof![Just([0; 4]), any::<[u8; 4]>()]),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut stream: Vec<u8> = messages.iter().flat_map(|pieces| fragmented(pieces, mask)).collect();
        for (at, byte) in damages {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        frame_stream::check(&stream);
    }
}
