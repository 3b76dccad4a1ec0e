//! Joins a packet and the attachments that follow it in messages of their own.

use bytestring::ByteString;

use super::packet::{MalformedSocketPacket, SocketPacket};
use crate::engine::EngineMessage;

/// Joins packets and attachments, one packet at a time.
pub(super) struct PacketAssembly {
    max_bytes: usize,
    pending: Option<Box<PendingPacket>>,
}

struct PendingPacket {
    packet: SocketPacket,
    missing_attachments: usize,
    bytes: usize,
}

/// Why a message is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssemblyError {
    Malformed,
    /// An attachment without a packet, or a packet instead of an attachment.
    OutOfOrder,
    TooLarge,
}

impl PacketAssembly {
    /// `max_bytes` limits a packet and its attachments together.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, pending: None }
    }

    /// Adds a message. Returns the packet that is complete with it.
    pub(super) fn add(&mut self, message: EngineMessage) -> Result<Option<SocketPacket>, AssemblyError> {
        match message {
            EngineMessage::Text(text) => self.start(&text),
            EngineMessage::Binary(attachment) => {
                let mut pending = self.pending.take().ok_or(AssemblyError::OutOfOrder)?;
                pending.bytes += attachment.len();
                if pending.bytes > self.max_bytes {
                    return Err(AssemblyError::TooLarge);
                }
                pending.packet.attach(attachment);
                pending.missing_attachments -= 1;
                if pending.missing_attachments == 0 {
                    return Ok(Some(pending.packet));
                }
                self.pending = Some(pending);
                Ok(None)
            }
        }
    }

    fn start(&mut self, text: &ByteString) -> Result<Option<SocketPacket>, AssemblyError> {
        if self.pending.is_some() {
            return Err(AssemblyError::OutOfOrder);
        }
        let decoded = SocketPacket::decode(text).map_err(|MalformedSocketPacket| AssemblyError::Malformed)?;
        if decoded.attachments == 0 {
            return Ok(Some(decoded.packet));
        }
        let (packet, missing_attachments) = (decoded.packet, decoded.attachments);
        self.pending = Some(Box::new(PendingPacket { packet, missing_attachments, bytes: text.len() }));
        Ok(None)
    }
}
