//! Checks the header of every websocket frame before its payload is buffered.
//!
//! actix-http buffers a whole frame before it checks its limit, so a client that announces eight gigabytes would get
//! them. The guard sits between the socket and that buffer: it adds up the size of each message and ends the stream at
//! the first header that breaks RFC 6455 or exceeds the limit. It keeps nothing but a header.
//!
//! `actix-web-actors` in turn buffers whatever has arrived before it hands one frame to its reader, so a client that
//! sends small frames faster than they are handled would fill the memory. The guard lets the next bytes through only
//! after the reader has handled every whole frame before them: the rest waits in the kernel, and then at the client.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_core::Stream;

/// The most frames of one message. Clients fragment what they stream, and messages are not streamed.
const MAX_FRAGMENTS: usize = 1_024;

/// The most payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: u64 = 125;

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameViolation {
    /// It breaks the protocol.
    Protocol,
    /// The message is too large, or in too many fragments.
    TooLarge,
}

/// Follows frames without keeping them.
#[derive(Debug)]
pub struct FrameScan {
    max_message_bytes: u64,
    /// The bytes of an incomplete header.
    header: [u8; 14],
    header_bytes: usize,
    /// How much is left of the current frame.
    payload_left: u64,
    /// Bytes and frames so far of a message whose last frame has not come.
    message: Option<(u64, usize)>,
    /// Frames that ended since [`Self::take_completed`].
    completed: usize,
}

impl FrameScan {
    /// Starts before the first frame.
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes: max_message_bytes as u64,
            header: [0; 14],
            header_bytes: 0,
            payload_left: 0,
            message: None,
            completed: 0,
        }
    }

    /// How many frames have ended since the last call.
    pub fn take_completed(&mut self) -> usize {
        std::mem::take(&mut self.completed)
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// A [`FrameViolation`]; the bytes after it mean nothing.
    pub fn scan(&mut self, mut bytes: &[u8]) -> Result<(), FrameViolation> {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                bytes = bytes.get(skipped..).unwrap_or_default();
                self.payload_left -= skipped as u64;
                self.completed += usize::from(self.payload_left == 0);
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { break };
            bytes = rest;
            if let Some(next) = self.header.get_mut(self.header_bytes) {
                *next = *byte;
            }
            self.header_bytes += 1;
            self.check_header()?;
        }
        Ok(())
    }

    /// Checks the header as soon as enough of it has come.
    fn check_header(&mut self) -> Result<(), FrameViolation> {
        let [first, second, extended @ ..] = self.header;
        if self.header_bytes < 2 {
            return Ok(());
        }
        let is_masked = second & 0x80 != 0;
        if first & 0x70 != 0 || !is_masked {
            return Err(FrameViolation::Protocol);
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
        // Refuses a frame that is too large at its size, before the mask has come.
        if self.header_bytes == 2 + size_bytes {
            self.check_size(first, size)?;
        }
        if self.header_bytes == 2 + size_bytes + 4 {
            self.header_bytes = 0;
            self.payload_left = size;
            self.completed += usize::from(size == 0);
        }
        Ok(())
    }

    fn check_size(&mut self, first: u8, size: u64) -> Result<(), FrameViolation> {
        let is_final = first & 0x80 != 0;
        let (bytes, frames) = match (first & 0x0f, self.message) {
            (8..=10, _) if is_final && size <= MAX_CONTROL_BYTES => return Ok(()),
            (0, Some((bytes, frames))) => (bytes.saturating_add(size), frames + 1),
            (1 | 2, None) => (size, 1),
            _ => return Err(FrameViolation::Protocol),
        };
        if bytes > self.max_message_bytes || frames > MAX_FRAGMENTS {
            return Err(FrameViolation::TooLarge);
        }
        self.message = (!is_final).then_some((bytes, frames));
        Ok(())
    }
}

/// Shared by a guard and the reader of its stream.
#[derive(Debug, Default)]
pub struct FrameProgress {
    /// Why the stream ended. An error of the stream itself would reach the reader as a text only.
    violation: Cell<Option<FrameViolation>>,
    /// Whole frames that the reader has not handled yet.
    unhandled: Cell<usize>,
}

impl FrameProgress {
    /// Why the guard ended the stream, if it did.
    #[must_use]
    pub fn violation(&self) -> Option<FrameViolation> {
        self.violation.get()
    }

    /// The reader has handled a frame.
    pub fn frame_handled(&self) {
        self.unhandled.update(|frames| frames.saturating_sub(1));
    }
}

/// The bytes of a websocket, up to the first [`FrameViolation`].
pub struct FrameGuard<S> {
    bytes: S,
    scan: FrameScan,
    progress: Rc<FrameProgress>,
}

impl<S> FrameGuard<S> {
    /// Guards a stream. The reader reports to the [`FrameProgress`] and asks it why the stream ended.
    pub fn new(bytes: S, max_message_bytes: usize) -> (Self, Rc<FrameProgress>) {
        let progress = Rc::default();
        let guard = Self { bytes, scan: FrameScan::new(max_message_bytes), progress: Rc::clone(&progress) };
        (guard, progress)
    }
}

impl<S> Stream for FrameGuard<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.progress.violation().is_some() {
            return Poll::Ready(None);
        }
        if self.progress.unhandled.get() > 0 {
            // No wake-up is needed: the reader has a frame and polls again after it.
            return Poll::Pending;
        }
        match Pin::new(&mut self.bytes).poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => match self.scan.scan(&chunk) {
                Ok(()) => {
                    let completed = self.scan.take_completed();
                    self.progress.unhandled.set(completed);
                    Poll::Ready(Some(Ok(chunk)))
                }
                Err(violation) => {
                    self.progress.violation.set(Some(violation));
                    Poll::Ready(None)
                }
            },
            // A broken transport is no violation: the stream just ends.
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
        assert_eq!(scan.scan(&frame(0x81, 1_001)[..4]), Err(FrameViolation::TooLarge));
        let eight_gigabytes = [0x82, 0xff, 0, 0, 0, 2, 0, 0, 0, 0];
        assert_eq!(FrameScan::new(1_000).scan(&eight_gigabytes), Err(FrameViolation::TooLarge));
    }

    #[test]
    fn fragments_count_together_and_there_are_not_too_many() {
        let mut scan = FrameScan::new(10);
        assert_eq!(scan.scan(&frame(0x01, 6)), Ok(()));
        assert_eq!(scan.scan(&frame(0x89, 3)), Ok(()), "a ping may come between");
        assert_eq!(scan.scan(&frame(0x80, 4)), Ok(()));
        assert_eq!(scan.scan(&frame(0x01, 6)), Ok(()));
        assert_eq!(scan.scan(&frame(0x00, 5)), Err(FrameViolation::TooLarge));
        let mut scan = FrameScan::new(10);
        assert_eq!(scan.scan(&frame(0x01, 0)), Ok(()));
        let ends = (0..MAX_FRAGMENTS + 1).find_map(|_| scan.scan(&frame(0x00, 0)).err());
        assert_eq!(ends, Some(FrameViolation::TooLarge));
    }

    #[test]
    fn frames_that_break_the_protocol_are_refused() {
        for (what, bytes) in [
            ("unmasked", vec![0x81, 0x01]),
            ("reserved bits", frame(0xc1, 1)),
            ("an unknown opcode", frame(0x83, 1)),
            ("a large ping", frame(0x89, 126)),
            ("a fragmented ping", frame(0x09, 1)),
            ("a continuation of nothing", frame(0x80, 1)),
            ("a message in a message", [frame(0x01, 1), frame(0x81, 1)].concat()),
        ] {
            assert_eq!(FrameScan::new(1_000).scan(&bytes), Err(FrameViolation::Protocol), "{what}");
        }
    }

    #[tokio::test]
    async fn further_bytes_wait_until_every_frame_was_handled() {
        let chunks = [[frame(0x81, 3), frame(0x89, 0), vec![0x81]].concat(), frame(0x81, 1)[1..].to_vec()];
        let mut chunks = chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)));
        let bytes = ChunkStream(Box::new(std::iter::from_fn(move || chunks.next())));
        let (mut guard, progress) = FrameGuard::new(bytes, 1_000);
        let mut next = || Pin::new(&mut guard).poll_next(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
        assert!(next().is_pending(), "two frames are whole");
        progress.frame_handled();
        assert!(next().is_pending(), "one is not handled yet");
        progress.frame_handled();
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))), "an incomplete frame does not count");
        progress.frame_handled();
        assert!(matches!(next(), Poll::Ready(None)));
    }

    /// A stream that is always ready.
    struct ChunkStream(Box<dyn Iterator<Item = Result<Bytes, PayloadError>>>);

    impl Stream for ChunkStream {
        type Item = Result<Bytes, PayloadError>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.next())
        }
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_how_the_bytes_are_cut(
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
