//! An event for clients, encoded once however many of them hear it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;

use super::packet::{DEFAULT_NAMESPACE, encode};
use crate::realtime::engine::Outgoing;

/// Writes the place of an event as clients keep it.
pub type OffsetWriter = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// An event for clients.
pub struct Emission {
    /// A JSON array: the name and the arguments.
    array: String,
    /// Binary, where the arguments have placeholders.
    attachments: Vec<Bytes>,
    /// Its place among all events, for clients that recover.
    offset: Option<(u64, OffsetWriter)>,
    /// The packet for the default namespace, without and with the offset.
    plain: OnceLock<ByteString>,
    tailed: OnceLock<ByteString>,
}

impl Emission {
    /// An event with one argument.
    #[must_use]
    pub fn new<T: Serialize>(name: &str, argument: &T) -> Self {
        // What cannot be written as JSON (a map with keys that are not texts) is not emitted by anybody.
        let array = serde_json::to_string(&(name, argument)).unwrap_or_default();
        Self::of_array(array, Vec::new())
    }

    /// The same with its place among all events.
    #[must_use]
    pub fn at(self, offset: u64, writer: &OffsetWriter) -> Self {
        Self { offset: Some((offset, Arc::clone(writer))), ..self }
    }

    /// An event with arguments that are a JSON array already, as they came in.
    #[must_use]
    pub fn with_args(name: &str, args: &str, attachments: Vec<Bytes>) -> Self {
        let name = serde_json::to_string(name).unwrap_or_default();
        let args = args.trim_start();
        let args = args.strip_prefix('[').unwrap_or(args).trim_start();
        let separator = if args.starts_with(']') { "" } else { "," };
        Self::of_array(format!("[{name}{separator}{args}"), attachments)
    }

    fn of_array(array: String, attachments: Vec<Bytes>) -> Self {
        Self { array, attachments, offset: None, plain: OnceLock::new(), tailed: OnceLock::new() }
    }

    /// Its place among all events.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.offset.as_ref().map(|(offset, _)| *offset)
    }

    /// What it costs to keep, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.array.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The packets of it; `id` asks for an acknowledgement, `recovers` adds the offset.
    pub fn packets(
        &self,
        namespace: &str,
        id: Option<u64>,
        recovers: bool,
    ) -> impl Iterator<Item = Outgoing> + '_ {
        let offset = self.offset.as_ref().filter(|_| recovers);
        let text = if namespace == DEFAULT_NAMESPACE && id.is_none() {
            let shared = if offset.is_some() { &self.tailed } else { &self.plain };
            shared.get_or_init(|| self.encode(namespace, id, offset)).clone()
        } else {
            self.encode(namespace, id, offset)
        };
        std::iter::once(Outgoing::Text(text)).chain(self.attachments.iter().cloned().map(Outgoing::Binary))
    }

    fn encode(&self, namespace: &str, id: Option<u64>, offset: Option<&(u64, OffsetWriter)>) -> ByteString {
        let kind = if self.attachments.is_empty() { '2' } else { '5' };
        match offset {
            None => encode(kind, self.attachments.len(), namespace, id, &self.array),
            Some((offset, writer)) => {
                let open = self.array.strip_suffix(']').unwrap_or(&self.array);
                let array = format!("{open},\"{}\"]", writer(*offset));
                encode(kind, self.attachments.len(), namespace, id, &array)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(packet: Option<Outgoing>) -> String {
        match packet {
            Some(Outgoing::Text(text)) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    #[test]
    fn only_who_recovers_is_told_the_offset() {
        let emission = Emission::new("e", &json!({"a": 1}))
            .at(7, &(Arc::new(|offset| format!("at-{offset}")) as OffsetWriter));
        assert_eq!(text(emission.packets("/", None, false).next()), r#"42["e",{"a":1}]"#);
        assert_eq!(text(emission.packets("/", None, true).next()), r#"42["e",{"a":1},"at-7"]"#);
        assert_eq!(text(emission.packets("/n", Some(3), false).next()), r#"42/n,3["e",{"a":1}]"#);
    }

    #[test]
    fn attachments_follow_their_event() {
        let args = r#"[{"_placeholder":true,"num":0}]"#;
        let emission = Emission::with_args("e", args, vec![Bytes::from_static(b"x")]);
        let packets: Vec<_> = emission.packets("/", None, false).collect();
        assert_eq!(text(packets.first().cloned()), r#"451-["e",{"_placeholder":true,"num":0}]"#);
        assert_eq!(packets.get(1), Some(&Outgoing::Binary(Bytes::from_static(b"x"))));
        assert_eq!(
            text(Emission::with_args("e", "[]", Vec::new()).packets("/", None, false).next()),
            r#"42["e"]"#
        );
    }
}
