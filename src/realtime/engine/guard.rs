//! Looks at the header of every websocket frame before its payload is buffered.
//!
//! actix-http buffers a whole frame before it checks its limit, so a client that declares eight
//! gigabytes would be given them. The guard stands between the socket and that buffer: it counts what
//! a message has so far and ends the stream at the first header that is against the rules of RFC 6455
//! or over the limit. It keeps nothing but a header.
//!
//! `actix-web-actors` in turn takes in whatever there is before it gives one frame to its reader, so a
//! client that sends small frames faster than they are handled would fill the memory. The guard lets
//! the next bytes through only when every whole frame of those before was handled: the rest waits in
//! the kernel, and then with the client.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_core::Stream;

/// The most frames of one message. Clients fragment what they stream; nobody streams here.
const MAX_FRAGMENTS: usize = 1_024;

/// The most payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: u64 = 125;

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Against the protocol.
    Protocol,
    /// The message is larger than it may be, or in too many pieces.
    TooLarge,
}

/// Follows frames without keeping them.
#[derive(Debug)]
pub struct FrameScan {
    max_message_bytes: u64,
    /// The begin of a header that is not complete yet.
    header: [u8; 14],
    header_bytes: usize,
    /// What is left of the frame whose header was read.
    payload_left: u64,
    /// The message that has begun and not ended: its bytes and frames so far.
    message: Option<(u64, usize)>,
    /// Frames that ended and were not asked for.
    ended: usize,
}

impl FrameScan {
    /// Begins before the first frame.
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes: max_message_bytes as u64,
            header: [0; 14],
            header_bytes: 0,
            payload_left: 0,
            message: None,
            ended: 0,
        }
    }

    /// How many frames have ended since this was asked last.
    pub fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }

    /// Follows the next bytes.
    ///
    /// # Errors
    /// A [`Violation`]; what comes after it means nothing.
    pub fn scan(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                bytes = bytes.get(skipped..).unwrap_or_default();
                self.payload_left -= skipped as u64;
                self.ended += usize::from(self.payload_left == 0);
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { break };
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.header_bytes) {
                *place = *byte;
            }
            self.header_bytes += 1;
            self.check()?;
        }
        Ok(())
    }

    /// Judges the header as soon as there is enough of it.
    fn check(&mut self) -> Result<(), Violation> {
        let [first, second, extended @ ..] = self.header;
        if self.header_bytes < 2 {
            return Ok(());
        }
        let is_masked = second & 0x80 != 0;
        if first & 0x70 != 0 || !is_masked {
            return Err(Violation::Protocol);
        }
        let (size_bytes, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        if self.header_bytes < 2 + size_bytes {
            return Ok(());
        }
        let size = extended.iter().take(size_bytes).fold(short, |size, byte| size << 8 | u64::from(*byte));
        // Before the mask has come: a frame that is too large is refused at its size.
        if self.header_bytes == 2 + size_bytes {
            self.judge(first, size)?;
        }
        if self.header_bytes == 2 + size_bytes + 4 {
            self.header_bytes = 0;
            self.payload_left = size;
            self.ended += usize::from(size == 0);
        }
        Ok(())
    }

    fn judge(&mut self, first: u8, size: u64) -> Result<(), Violation> {
        let is_final = first & 0x80 != 0;
        let (bytes, frames) = match (first & 0x0f, self.message) {
            (8..=10, _) if is_final && size <= MAX_CONTROL_BYTES => return Ok(()),
            (0, Some((bytes, frames))) => (bytes.saturating_add(size), frames + 1),
            (1 | 2, None) => (size, 1),
            _ => return Err(Violation::Protocol),
        };
        if bytes > self.max_message_bytes || frames > MAX_FRAGMENTS {
            return Err(Violation::TooLarge);
        }
        self.message = (!is_final).then_some((bytes, frames));
        Ok(())
    }
}

/// What a guard and the reader of its stream know of each other.
#[derive(Debug, Default)]
pub struct Progress {
    /// Why the stream ended: its own error becomes a text on the way.
    verdict: Cell<Option<Violation>>,
    /// Whole frames that were let through and not handled yet.
    unhandled: Cell<usize>,
}

impl Progress {
    /// What was wrong, if anything was.
    #[must_use]
    pub fn verdict(&self) -> Option<Violation> {
        self.verdict.get()
    }

    /// The reader has handled a frame.
    pub fn handled(&self) {
        self.unhandled.update(|frames| frames.saturating_sub(1));
    }
}

/// The bytes of a websocket, up to the first [`Violation`].
pub struct Guard<S> {
    bytes: S,
    scan: FrameScan,
    progress: Rc<Progress>,
}

impl<S> Guard<S> {
    /// Guards a stream, and what its reader has to look at and to tell.
    pub fn new(bytes: S, max_message_bytes: usize) -> (Self, Rc<Progress>) {
        let progress = Rc::default();
        let guard = Self { bytes, scan: FrameScan::new(max_message_bytes), progress: Rc::clone(&progress) };
        (guard, progress)
    }
}

impl<S> Stream for Guard<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.progress.verdict().is_some() {
            return Poll::Ready(None);
        }
        if self.progress.unhandled.get() > 0 {
            // Nobody has to be woken: the reader has a frame, and asks again when it has handled it.
            return Poll::Pending;
        }
        match Pin::new(&mut self.bytes).poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => match self.scan.scan(&chunk) {
                Ok(()) => {
                    let ended = self.scan.take_ended();
                    self.progress.unhandled.set(ended);
                    Poll::Ready(Some(Ok(chunk)))
                }
                Err(violation) => {
                    self.progress.verdict.set(Some(violation));
                    Poll::Ready(None)
                }
            },
            // A transport that broke is no violation: the stream is over, as far as it came.
            Poll::Ready(Some(Err(_broken))) => Poll::Ready(None),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload {
            0..126 => bytes.push(0x80 | u8::try_from(payload).unwrap()),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.resize(bytes.len() + payload, 0);
        bytes
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_at_its_header() {
        let mut scan = FrameScan::new(1_000);
        assert_eq!(scan.scan(&frame(0x81, 1_000)), Ok(()));
        assert_eq!(scan.scan(&frame(0x81, 1_001)[..4]), Err(Violation::TooLarge));
        let eight_gigabytes = [0x82, 0xff, 0, 0, 0, 2, 0, 0, 0, 0];
        assert_eq!(FrameScan::new(1_000).scan(&eight_gigabytes), Err(Violation::TooLarge));
    }

    #[test]
    fn fragments_count_together_and_there_are_not_too_many() {
        let mut scan = FrameScan::new(10);
        assert_eq!(scan.scan(&frame(0x01, 6)), Ok(()));
        assert_eq!(scan.scan(&frame(0x89, 3)), Ok(()), "a ping may come between");
        assert_eq!(scan.scan(&frame(0x80, 4)), Ok(()));
        assert_eq!(scan.scan(&frame(0x01, 6)), Ok(()));
        assert_eq!(scan.scan(&frame(0x00, 5)), Err(Violation::TooLarge));
        let mut scan = FrameScan::new(10);
        assert_eq!(scan.scan(&frame(0x01, 0)), Ok(()));
        let ends = (0..MAX_FRAGMENTS + 1).find_map(|_| scan.scan(&frame(0x00, 0)).err());
        assert_eq!(ends, Some(Violation::TooLarge));
    }

    #[test]
    fn what_the_protocol_forbids_is_refused() {
        for (what, bytes) in [
            ("unmasked", vec![0x81, 0x01]),
            ("reserved bits", frame(0xc1, 1)),
            ("an unknown opcode", frame(0x83, 1)),
            ("a large ping", frame(0x89, 126)),
            ("a fragmented ping", frame(0x09, 1)),
            ("a continuation of nothing", frame(0x80, 1)),
            ("a message in a message", [frame(0x01, 1), frame(0x81, 1)].concat()),
        ] {
            assert_eq!(FrameScan::new(1_000).scan(&bytes), Err(Violation::Protocol), "{what}");
        }
    }

    #[tokio::test]
    async fn what_follows_waits_until_every_frame_was_handled() {
        let chunks = [[frame(0x81, 3), frame(0x89, 0), vec![0x81]].concat(), frame(0x81, 1)[1..].to_vec()];
        let mut chunks = chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)));
        let bytes = Chunks(Box::new(std::iter::from_fn(move || chunks.next())));
        let (mut guard, progress) = Guard::new(bytes, 1_000);
        let mut next = || Pin::new(&mut guard).poll_next(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
        assert!(next().is_pending(), "two frames are whole");
        progress.handled();
        assert!(next().is_pending(), "one is not handled yet");
        progress.handled();
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))), "a frame that has only begun does not count");
        progress.handled();
        assert!(matches!(next(), Poll::Ready(None)));
    }

    /// A stream that is always ready.
    struct Chunks(Box<dyn Iterator<Item = Result<Bytes, PayloadError>>>);

    impl Stream for Chunks {
        type Item = Result<Bytes, PayloadError>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.next())
        }
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_are_cut(
            frames in prop::collection::vec((any::<u8>(), 0..300_usize), 1..8),
            cuts in prop::collection::vec(1..40_usize, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(first, size)| frame(*first, *size)).collect();
            let whole = FrameScan::new(400).scan(&bytes);
            let mut scan = FrameScan::new(400);
            let mut rest = bytes.as_slice();
            let mut cut = Ok(());
            for size in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                cut = cut.and_then(|()| scan.scan(piece));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(whole, cut);
        }
    }
}
