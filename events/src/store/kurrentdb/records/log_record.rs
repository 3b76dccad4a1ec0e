//! An event as the database stores it, and the record that stands for what was removed.
//!
//! The data are the event's own bytes. Everything else that surrounds an event is in the record's metadata, with the
//! event's version: versions begin again when a stream is deleted, while the numbers of the database, its revisions, go
//! on. So each record tells both, and no stream has to be read from its start to number its events.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::log_names::{LogNames, NamedStream};
use crate::{
    EventId, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version, codec,
    store::{Epoch, ReadError},
};

/// The type of the record that takes the place of a stream's removed events. A scavenge keeps the last event of each
/// stream with its data, so before everything of a stream is removed one is appended that has none.
const MARKER: &str = "amoiq.removed";

/// The type of the record that names a history.
const EPOCH: &str = "amoiq.epoch";

/// The type of a record of a metadata stream.
const METADATA: &str = "$metadata";

/// A record as it comes over the wire.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct WireRecord {
    pub(in crate::store::kurrentdb) stream: String,
    pub(in crate::store::kurrentdb) revision: u64,
    pub(in crate::store::kurrentdb) position: u64,
    pub(in crate::store::kurrentdb) id: Uuid,
    pub(in crate::store::kurrentdb) kind: String,
    pub(in crate::store::kurrentdb) data: bytes::Bytes,
    pub(in crate::store::kurrentdb) metadata: bytes::Bytes,
}

/// A record that is to be written.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct ProposedRecord {
    pub(in crate::store::kurrentdb) id: Uuid,
    pub(in crate::store::kurrentdb) kind: String,
    pub(in crate::store::kurrentdb) is_json: bool,
    pub(in crate::store::kurrentdb) data: bytes::Bytes,
    pub(in crate::store::kurrentdb) metadata: bytes::Bytes,
}

impl ProposedRecord {
    /// One without content.
    fn empty(kind: &str, id: Uuid) -> Self {
        let (data, metadata) = (bytes::Bytes::new(), bytes::Bytes::new());
        Self { id, kind: kind.to_owned(), is_json: false, data, metadata }
    }
}

/// What a record says to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::kurrentdb) enum LogRecord {
    /// An event.
    Event(RecordedEvent),
    /// Everything before it in the stream is removed.
    Removed { stream: StreamName, marker: RemovalMarker },
    /// Everything before a revision of the stream is removed.
    Truncated { stream: StreamName, before: u64 },
    /// Something else.
    Other,
}

/// What is left of removed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store::kurrentdb) struct RemovalMarker {
    /// The version that the stream has now; 0 when it begins again.
    pub(in crate::store::kurrentdb) version: Version,
    /// The newest event that was removed: a scavenge takes it away, and the log must not seem shorter then.
    pub(in crate::store::kurrentdb) newest: Position,
}

/// What surrounds an event, in the record's metadata.
#[derive(Serialize, Deserialize)]
struct RecordEnvelope<'a> {
    version: Version,
    schema: u16,
    time: i64,
    #[serde(borrow)]
    causation: Cow<'a, str>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    /// The position that the event had in the log from which it was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Position>,
}

/// The part of a stream's metadata that says what is removed.
#[derive(Deserialize)]
struct TruncatedBefore {
    #[serde(rename = "$tb")]
    before: Option<u64>,
}

impl LogRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// When a stream of the log has something that this program did not write.
    pub(in crate::store::kurrentdb) fn decode(
        record: WireRecord,
        names: &LogNames,
    ) -> Result<Self, ReadError> {
        match names.named(&record.stream) {
            NamedStream::Events(stream) if record.kind == MARKER => {
                let marker = parsed(&record, &record.metadata)?;
                Ok(Self::Removed { stream, marker })
            }
            // A stream that an operator removed for good ends with a record of the server.
            NamedStream::Events(_) if record.kind.starts_with('$') => Ok(Self::Other),
            NamedStream::Events(stream) => decode_event(&record, stream).map(Self::Event),
            NamedStream::Metadata(stream) if record.kind == METADATA => {
                let TruncatedBefore { before } = parsed(&record, &record.data)?;
                Ok(before.map_or(Self::Other, |before| Self::Truncated { stream, before }))
            }
            _ => Ok(Self::Other),
        }
    }
}

fn decode_event(record: &WireRecord, stream: StreamName) -> Result<RecordedEvent, ReadError> {
    let envelope: RecordEnvelope<'_> = parsed(record, &record.metadata)?;
    Ok(RecordedEvent {
        position: Position::from_u64(record.position),
        stream,
        version: envelope.version,
        event: NewEvent {
            id: EventId::from_uuid(record.id),
            kind: codec::intern(&record.kind),
            schema: envelope.schema,
            time: Timestamp::from_millis(envelope.time),
            causation: envelope.causation.into(),
            actor: envelope.actor.into(),
            data: record.data.to_vec().into(),
        },
    })
}

fn parsed<'a, T: Deserialize<'a>>(record: &WireRecord, json: &'a [u8]) -> Result<T, ReadError> {
    serde_json::from_slice(json).map_err(|error| ReadError::EventDamaged {
        position: Position::from_u64(record.position),
        reason: format!("`{}` of {} was not written by this program: {error}", record.kind, record.stream),
    })
}

/// An event as the database takes it.
pub(in crate::store::kurrentdb) fn encode(event: &NewEvent, version: Version) -> ProposedRecord {
    encode_from(event, version, None)
}

/// An event of another log as the database takes it.
pub(in crate::store::kurrentdb) fn encode_filled(event: &RecordedEvent) -> ProposedRecord {
    encode_from(&event.event, event.version, Some(event.position))
}

/// The position that an event had in the log from which it was copied, if it was.
pub(in crate::store::kurrentdb) fn origin(record: &WireRecord) -> Option<Position> {
    let envelope: RecordEnvelope<'_> = serde_json::from_slice(&record.metadata).ok()?;
    envelope.origin
}

fn encode_from(event: &NewEvent, version: Version, origin: Option<Position>) -> ProposedRecord {
    let envelope = RecordEnvelope {
        version,
        schema: event.schema,
        time: event.time.as_millis(),
        causation: Cow::Borrowed(&event.causation),
        actor: Cow::Borrowed(&event.actor),
        origin,
    };
    ProposedRecord {
        id: event.id.as_uuid(),
        kind: event.kind.to_string(),
        // Only a hint for who looks at the database: a browser shows JSON.
        is_json: event.data.starts_with(b"{") && event.data.ends_with(b"}"),
        data: event.data.to_vec().into(),
        metadata: json(&envelope),
    }
}

/// A marker as the database takes it, under an id of its own.
pub(in crate::store::kurrentdb) fn encode_marker(marker: RemovalMarker, id: Uuid) -> ProposedRecord {
    ProposedRecord { metadata: json(&marker), ..ProposedRecord::empty(MARKER, id) }
}

/// What names a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store::kurrentdb) struct EpochRecord {
    epoch: u64,
    /// In a log that is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filling: Option<FillingMark>,
    /// In one that lost events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<LostHistory>,
}

/// The history that a log had before it lost events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store::kurrentdb) struct LostHistory {
    pub(in crate::store::kurrentdb) epoch: u64,
    /// Up to where it is certainly the same.
    pub(in crate::store::kurrentdb) common: Position,
}

/// From what a log is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store::kurrentdb) struct FillingMark {
    /// The epoch of the source, if that can be read again.
    pub(in crate::store::kurrentdb) source: Option<u64>,
}

impl EpochRecord {
    /// The name of a log that services may open.
    pub(in crate::store::kurrentdb) fn complete(epoch: Epoch) -> Self {
        Self { epoch: epoch.0, filling: None, lost: None }
    }

    /// The name of one that lost events.
    pub(in crate::store::kurrentdb) fn after_loss(epoch: Epoch, lost: LostHistory) -> Self {
        Self { lost: Some(lost), ..Self::complete(epoch) }
    }

    /// The name of one that is being filled.
    pub(in crate::store::kurrentdb) fn filling(epoch: Epoch, mark: FillingMark) -> Self {
        Self { filling: Some(mark), ..Self::complete(epoch) }
    }

    /// The history.
    pub(in crate::store::kurrentdb) fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    /// From what the log is being filled.
    pub(in crate::store::kurrentdb) fn mark(&self) -> Option<FillingMark> {
        self.filling
    }

    /// What was before it.
    pub(in crate::store::kurrentdb) fn lost(&self) -> Option<LostHistory> {
        self.lost
    }
}

/// The name of a history as the database takes it.
pub(in crate::store::kurrentdb) fn encode_epoch(record: EpochRecord, id: Uuid) -> ProposedRecord {
    ProposedRecord { metadata: json(&record), ..ProposedRecord::empty(EPOCH, id) }
}

/// What a record says that names a history.
pub(in crate::store::kurrentdb) fn decode_epoch(record: &WireRecord) -> Option<EpochRecord> {
    let known: EpochRecord = serde_json::from_slice(&record.metadata).ok()?;
    (record.kind == EPOCH).then_some(known)
}

/// How many bytes the database counts of an event beside its data, at the most.
pub(in crate::store::kurrentdb) fn overhead_bytes(event: &NewEvent) -> usize {
    // Texts in JSON take up to six bytes for one; the names of the fields and the numbers take less than 160.
    160 + 6 * (event.causation.len() + event.actor.len()) + 2 * event.kind.len()
}

fn json(value: &impl Serialize) -> bytes::Bytes {
    // Numbers and texts: nothing can fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stream: &str, kind: &str, metadata: &str) -> WireRecord {
        WireRecord {
            stream: stream.to_owned(),
            revision: 7,
            position: 700,
            id: Uuid::from_u128(1),
            kind: kind.to_owned(),
            data: bytes::Bytes::from_static(br#"{"$tb":5,"$maxAge":9}"#),
            metadata: metadata.as_bytes().to_vec().into(),
        }
    }

    fn decoded(record: WireRecord) -> Result<LogRecord, ReadError> {
        LogRecord::decode(record, &LogNames::parse("amoiq").unwrap())
    }

    #[test]
    fn each_kind_of_record_is_recognised() {
        let stream = StreamName::node("n");
        let marker = RemovalMarker { version: Version::from_u64(4), newest: Position::from_u64(650) };
        let text = String::from_utf8(json(&marker).to_vec()).unwrap();
        let removed = decoded(record("amoiq-node:n", MARKER, &text));
        assert_eq!(removed, Ok(LogRecord::Removed { stream: stream.clone(), marker }));
        let truncated = decoded(record("$$amoiq-node:n", METADATA, ""));
        assert_eq!(truncated, Ok(LogRecord::Truncated { stream, before: 5 }));
        assert_eq!(decoded(record("amoiq-node:n", "$streamDeleted", "")), Ok(LogRecord::Other));
        assert_eq!(decoded(record("other-node:n", "node.started", "")), Ok(LogRecord::Other));
    }

    #[test]
    fn an_event_of_somebody_else_is_damage() {
        let strange = decoded(record("amoiq-node:n", "node.started", r#"{"version":1}"#));
        assert!(strange.is_err_and(|error| error.is_damage()));
    }
}
