//! An event for clients, encoded once however many of them get it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;

use super::packet::{DEFAULT_NAMESPACE, encode_packet};
use crate::engine::OutgoingPacket;

/// Writes the offset of an event as clients keep it.
pub type OffsetWriter = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// An event for clients.
pub struct OutgoingEvent {
    /// A JSON array: the name and the arguments.
    array: String,
    /// Binary for the placeholders of the arguments.
    attachments: Vec<Bytes>,
    /// Its offset among all events, for clients that recover.
    offset: Option<(u64, OffsetWriter)>,
    /// The packet for the default namespace without the offset.
    plain: OnceLock<OutgoingPacket>,
    /// The same with the offset.
    with_offset: OnceLock<OutgoingPacket>,
}

impl OutgoingEvent {
    /// An event with one argument.
    #[must_use]
    pub fn new<T: Serialize>(name: &str, argument: &T) -> Self {
        // Only a map whose keys are not texts fails to serialize, and nobody emits one.
        let array = serde_json::to_string(&(name, argument)).unwrap_or_default();
        Self::from_array(array, Vec::new())
    }

    /// Adds its offset among all events.
    #[must_use]
    pub fn at(self, offset: u64, writer: &OffsetWriter) -> Self {
        Self { offset: Some((offset, Arc::clone(writer))), ..self }
    }

    /// An event whose arguments are already a JSON array, as they arrived.
    #[must_use]
    pub fn with_args(name: &str, args: &str, attachments: Vec<Bytes>) -> Self {
        let name = serde_json::to_string(name).unwrap_or_default();
        let args = args.trim_start();
        let args = args.strip_prefix('[').unwrap_or(args).trim_start();
        let separator = if args.starts_with(']') { "" } else { "," };
        Self::from_array(format!("[{name}{separator}{args}"), attachments)
    }

    fn from_array(array: String, attachments: Vec<Bytes>) -> Self {
        Self { array, attachments, offset: None, plain: OnceLock::new(), with_offset: OnceLock::new() }
    }

    /// Its offset among all events.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.offset.as_ref().map(|(offset, _)| *offset)
    }

    /// Its size, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.array.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Its packets. `id` asks for an acknowledgement, `recovers` adds the offset.
    pub fn packets(
        &self,
        namespace: &str,
        id: Option<u64>,
        recovers: bool,
    ) -> impl Iterator<Item = OutgoingPacket> + '_ {
        let offset = self.offset.as_ref().filter(|_| recovers);
        let text = if namespace == DEFAULT_NAMESPACE && id.is_none() {
            let shared = if offset.is_some() { &self.with_offset } else { &self.plain };
            shared.get_or_init(|| self.encode(namespace, id, offset)).clone()
        } else {
            self.encode(namespace, id, offset)
        };
        std::iter::once(text).chain(self.attachments.iter().map(|bytes| OutgoingPacket::binary(bytes)))
    }

    fn encode(
        &self,
        namespace: &str,
        id: Option<u64>,
        offset: Option<&(u64, OffsetWriter)>,
    ) -> OutgoingPacket {
        let kind = if self.attachments.is_empty() { '2' } else { '5' };
        let text = match offset {
            None => encode_packet(kind, self.attachments.len(), namespace, id, &self.array),
            Some((offset, writer)) => {
                let open = self.array.strip_suffix(']').unwrap_or(&self.array);
                let array = format!("{open},\"{}\"]", writer(*offset));
                encode_packet(kind, self.attachments.len(), namespace, id, &array)
            }
        };
        OutgoingPacket::text(&text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(packet: Option<OutgoingPacket>) -> String {
        packet.as_ref().and_then(OutgoingPacket::as_text).expect("a text").to_owned()
    }

    #[test]
    fn only_a_client_that_recovers_gets_the_offset() {
        let event = OutgoingEvent::new("e", &json!({"a": 1}))
            .at(7, &(Arc::new(|offset| format!("at-{offset}")) as OffsetWriter));
        assert_eq!(text(event.packets("/", None, false).next()), r#"42["e",{"a":1}]"#);
        assert_eq!(text(event.packets("/", None, true).next()), r#"42["e",{"a":1},"at-7"]"#);
        assert_eq!(text(event.packets("/n", Some(3), false).next()), r#"42/n,3["e",{"a":1}]"#);
    }

    #[test]
    fn attachments_follow_their_event() {
        let args = r#"[{"_placeholder":true,"num":0}]"#;
        let event = OutgoingEvent::with_args("e", args, vec![Bytes::from_static(b"x")]);
        let packets: Vec<_> = event.packets("/", None, false).collect();
        assert_eq!(text(packets.first().cloned()), r#"451-["e",{"_placeholder":true,"num":0}]"#);
        assert_eq!(packets.get(1), Some(&OutgoingPacket::binary(b"x")));
        assert_eq!(
            text(OutgoingEvent::with_args("e", "[]", Vec::new()).packets("/", None, false).next()),
            r#"42["e"]"#
        );
    }
}
