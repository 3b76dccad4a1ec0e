//! Follows the headers of a websocket's frames: what RFC 6455 forbids and what is too large ends the stream at the first
//! header that says so, however the bytes are cut. Nothing is kept but a header.

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
    /// The fragments of a text are not UTF-8 together.
    NotText,
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
        }
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
