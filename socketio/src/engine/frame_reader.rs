//! Reads the frames of a websocket.
//!
//! The codec of actix-http buffers a whole frame before it checks its limit, so a client that announces eight gigabytes
//! would get them. So every header is checked first ([`FrameScan`]): the size of each message is added up, and the
//! stream ends at the first header that breaks RFC 6455 or exceeds the limit, before anything is buffered. Between frames
//! a reader has no buffer.

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame, Item};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::EngineMessage;

mod frame_scan;

pub use frame_scan::{FrameScan, FrameViolation};

/// What a client sent over its websocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebSocketInput {
    /// A whole message.
    Message(EngineMessage),
    /// It wants this back.
    Ping(Bytes),
    /// It closes the websocket.
    Close,
}

/// Reads the frames of one websocket.
pub struct FrameReader {
    scan: FrameScan,
    codec: Codec,
    /// What is not read yet. Not allocated while that is nothing.
    buffer: BytesMut,
    /// The fragments of a message so far. Boxed: they are rare.
    fragments: Option<Box<FragmentedMessage>>,
    violation: Option<FrameViolation>,
}

struct FragmentedMessage {
    is_text: bool,
    bytes: BytesMut,
}

impl FrameReader {
    /// Starts before the first frame.
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            scan: FrameScan::new(max_message_bytes),
            codec: Codec::new().max_size(max_message_bytes),
            buffer: BytesMut::new(),
            fragments: None,
            violation: None,
        }
    }

    /// Adds the next bytes, unless the stream ends with them. The caller reads all frames before it adds more, so a client
    /// cannot send more than is handled.
    pub fn add(&mut self, bytes: &[u8]) {
        if self.violation.is_none() {
            self.violation = self.scan.scan(bytes).err();
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next message or control frame that is whole.
    ///
    /// # Errors
    /// A [`FrameViolation`], which is final.
    pub fn next_input(&mut self) -> Result<Option<WebSocketInput>, FrameViolation> {
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        while !self.buffer.is_empty() {
            let decoded = self.codec.decode(&mut self.buffer).map_err(|_refused| FrameViolation::Protocol)?;
            let Some(frame) = decoded else { return Ok(None) };
            if let Some(input) = self.input(frame)? {
                return Ok(Some(input));
            }
        }
        self.buffer = BytesMut::new();
        Ok(None)
    }

    fn input(&mut self, frame: Frame) -> Result<Option<WebSocketInput>, FrameViolation> {
        let message = match frame {
            Frame::Text(bytes) => EngineMessage::Text(
                ByteString::try_from(bytes).map_err(|_not_text| FrameViolation::Protocol)?,
            ),
            Frame::Binary(bytes) => EngineMessage::Binary(bytes),
            Frame::Continuation(item) => return Ok(self.fragment(item)?.map(WebSocketInput::Message)),
            Frame::Ping(bytes) => return Ok(Some(WebSocketInput::Ping(bytes))),
            Frame::Pong(_) => return Ok(None),
            Frame::Close(_) => return Ok(Some(WebSocketInput::Close)),
        };
        Ok(Some(WebSocketInput::Message(message)))
    }

    /// Adds a fragment. Returns the message that is whole with it. The scan bounds them.
    fn fragment(&mut self, item: Item) -> Result<Option<EngineMessage>, FrameViolation> {
        let mut start = |is_text, bytes: &[u8]| {
            self.fragments = Some(Box::new(FragmentedMessage { is_text, bytes: bytes.into() }));
        };
        let (bytes, is_last) = match item {
            Item::FirstText(bytes) => {
                start(true, &bytes);
                return Ok(None);
            }
            Item::FirstBinary(bytes) => {
                start(false, &bytes);
                return Ok(None);
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let Some(so_far) = &mut self.fragments else { return Ok(None) };
        so_far.bytes.extend_from_slice(&bytes);
        match self.fragments.take_if(|_| is_last).map(|whole| *whole) {
            None => Ok(None),
            Some(FragmentedMessage { is_text: false, bytes }) => {
                Ok(Some(EngineMessage::Binary(bytes.freeze())))
            }
            Some(FragmentedMessage { is_text: true, bytes }) => {
                let text = ByteString::try_from(bytes).map_err(|_not_text| FrameViolation::NotText)?;
                Ok(Some(EngineMessage::Text(text)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> Vec<u8> {
        let size = u8::try_from(bytes.len()).unwrap();
        [&[0x81, 0x80 | size, 0, 0, 0, 0], bytes.as_bytes()].concat()
    }

    #[test]
    fn a_reader_has_a_buffer_only_within_a_frame() {
        let mut reader = FrameReader::new(1_000);
        let frame = text("hello");
        reader.add(&frame[..4]);
        assert_eq!(reader.next_input(), Ok(None));
        assert!(reader.buffer.capacity() > 0);
        reader.add(&frame[4..]);
        let hello = WebSocketInput::Message(EngineMessage::Text("hello".into()));
        assert_eq!(reader.next_input(), Ok(Some(hello)));
        assert_eq!(reader.next_input(), Ok(None));
        assert_eq!(reader.buffer.capacity(), 0);
    }

    #[test]
    fn a_chunk_with_a_violation_ends_the_stream() {
        let mut reader = FrameReader::new(4);
        reader.add(&[text("ok"), text("too large")].concat());
        assert_eq!(reader.next_input(), Err(FrameViolation::TooLarge));
        reader.add(&text("ok"));
        assert_eq!(reader.next_input(), Err(FrameViolation::TooLarge), "it is final");
    }
}
