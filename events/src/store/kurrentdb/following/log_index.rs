//! What a node keeps of the whole log: the names of the streams and where each of them is, the newest ids, and the places
//! of events. It is read from the log at the start, and kept up to date by following it.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use super::position_marks::PositionMarks;
use crate::{
    EventId, NewEvent, Position, RecordedEvent, StreamName, Version,
    store::{
        AppendReceipt, REMEMBERED_IDS,
        kurrentdb::records::log_record::{LogRecord, RemovalMarker},
    },
};

/// Where a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store::kurrentdb) struct StreamPlace {
    /// The revision that the next record gets.
    pub(in crate::store::kurrentdb) next: u64,
    /// The version of the last event; 0 for a stream that does not exist.
    pub(in crate::store::kurrentdb) version: Version,
    /// The first revision that is not removed.
    pub(in crate::store::kurrentdb) first: u64,
    /// The position of the last event.
    pub(in crate::store::kurrentdb) newest: Position,
}

impl StreamPlace {
    /// The revision of a version, which may not have been written yet.
    pub(in crate::store::kurrentdb) fn revision_of(&self, version: Version) -> u64 {
        let behind = self.version.as_u64().saturating_sub(version.as_u64());
        let ahead = version.as_u64().saturating_sub(self.version.as_u64());
        let revision = self.next.saturating_add(ahead).saturating_sub(behind).saturating_sub(1);
        // The server counts with a sign.
        revision.min(i64::MAX.cast_unsigned())
    }

    /// Whether any event is left.
    pub(in crate::store::kurrentdb) fn is_empty(&self) -> bool {
        self.first >= self.next
    }
}

/// An event whose id is remembered.
#[derive(Debug)]
struct RememberedEvent {
    stream: StreamName,
    revision: u64,
    receipt: AppendReceipt,
}

/// What a record changed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store::kurrentdb) enum IndexChange {
    /// An event was added.
    Added(RecordedEvent),
    /// Events were removed.
    Removed,
    /// It says nothing to subscribers.
    Nothing,
}

/// The index of a log.
#[derive(Debug, Default)]
pub(in crate::store::kurrentdb) struct LogIndex {
    streams: BTreeMap<StreamName, StreamPlace>,
    ids: foldhash::HashMap<EventId, RememberedEvent>,
    /// From the oldest to the newest; an id may be here twice, and the position says which one counts.
    id_order: VecDeque<(EventId, Position)>,
    marks: PositionMarks,
    head: Position,
}

impl LogIndex {
    /// Takes the next record of the log over.
    pub(in crate::store::kurrentdb) fn fold(&mut self, record: LogRecord, revision: u64) -> IndexChange {
        match record {
            LogRecord::Event(event) => {
                self.add(&event, revision);
                IndexChange::Added(event)
            }
            LogRecord::Removed { stream, marker: RemovalMarker { version, newest } } => {
                let place = self.streams.entry(stream).or_default();
                *place = StreamPlace { next: revision + 1, version, first: revision + 1, newest };
                self.head = self.head.max(newest);
                IndexChange::Removed
            }
            LogRecord::Truncated { stream, before } => {
                let place = self.streams.entry(stream).or_default();
                // Beyond the end it is the server's own way to remove everything.
                place.first = place.first.max(before.min(place.next));
                IndexChange::Removed
            }
            LogRecord::Other => IndexChange::Nothing,
        }
    }

    fn add(&mut self, event: &RecordedEvent, revision: u64) {
        let (position, id) = (event.position, event.event.id);
        let place = self.streams.entry(event.stream.clone()).or_default();
        place.next = revision + 1;
        place.version = event.version;
        place.newest = position;
        let receipt = AppendReceipt { version: event.version, position };
        self.ids.insert(id, RememberedEvent { stream: event.stream.clone(), revision, receipt });
        self.id_order.push_back((id, position));
        if self.id_order.len() > REMEMBERED_IDS
            && let Some((oldest, position)) = self.id_order.pop_front()
            && self.ids.get(&oldest).is_some_and(|known| known.receipt.position == position)
        {
            self.ids.remove(&oldest);
        }
        self.marks.push(position, event.event.time);
        self.head = self.head.max(position);
    }

    /// Where a stream is.
    pub(in crate::store::kurrentdb) fn place(&self, stream: &StreamName) -> StreamPlace {
        self.streams.get(stream).copied().unwrap_or_default()
    }

    /// Whether an event of the log was not removed, as far as this node knows.
    pub(in crate::store::kurrentdb) fn is_kept(&self, stream: &StreamName, revision: u64) -> bool {
        self.streams.get(stream).is_none_or(|place| revision >= place.first)
    }

    /// The receipt of an event that is one of the newest.
    pub(in crate::store::kurrentdb) fn receipt_of(
        &self,
        stream: &StreamName,
        id: EventId,
    ) -> Option<AppendReceipt> {
        let known = self.ids.get(&id).filter(|known| known.stream == *stream)?;
        self.is_kept(stream, known.revision).then_some(known.receipt)
    }

    /// The first receipt, if exactly these events are consecutive in this stream and among the newest.
    pub(in crate::store::kurrentdb) fn repeated(
        &self,
        stream: &StreamName,
        events: &[NewEvent],
    ) -> Option<AppendReceipt> {
        let first = self.receipt_of(stream, events.first()?.id)?.version;
        let mut last = None;
        for (offset, event) in (0..).zip(events) {
            let receipt = self.receipt_of(stream, event.id)?;
            last = Some(receipt).filter(|receipt| receipt.version == first.plus(offset));
            last?;
        }
        last
    }

    /// Names of streams that exist, in order.
    pub(in crate::store::kurrentdb) fn names(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Vec<StreamName> {
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.clone()),
            _ => Bound::Included(StreamName::stored(prefix)),
        };
        let names = self.streams.range((start, Bound::Unbounded));
        let names = names.take_while(|(name, _)| name.as_str().starts_with(prefix));
        let existing = names.filter(|(_, place)| place.version > Version::NONE);
        existing.take(limit).map(|(name, _)| name.clone()).collect()
    }

    /// Streams of which something was removed, in order.
    pub(in crate::store::kurrentdb) fn removed(&self) -> Vec<(StreamName, StreamPlace)> {
        let removed = self.streams.iter().filter(|(_, place)| place.first > 0);
        removed.map(|(name, place)| (name.clone(), *place)).collect()
    }

    /// Where events are.
    pub(in crate::store::kurrentdb) fn marks(&self) -> &PositionMarks {
        &self.marks
    }

    /// The newest event that the log ever had.
    pub(in crate::store::kurrentdb) fn head(&self) -> Position {
        self.head
    }
}
