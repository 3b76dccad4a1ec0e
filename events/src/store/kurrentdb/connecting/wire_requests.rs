//! Reading and appending, as the protocol has it. The client is not used for it: it passes no filter on when it reads the log
//! of all streams, takes the answer of a node that knows no leader for that of a stream that does not exist, its
//! subscription cannot be ended, and its connections wait for acknowledgements of half an append: 46 ms for each.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll},
};

use amoiq_kurrentdb_protocol::{
    Empty, StreamIdentifier, Uuid as WireUuid,
    streams::{
        AppendReq, ReadReq, ReadResp, append_req,
        append_req::options::ExpectedStreamRevision,
        read_req::{
            Options,
            options::{
                self, AllOptions, CountOption, FilterOption, FilterOptions, StreamOption, StreamOptions,
                SubscriptionOptions, UuidOption,
                all_options::AllOption,
                filter_options::{Expression, Filter, Window},
                stream_options::RevisionOption,
                uuid_option,
            },
        },
        read_resp::{Content, read_event::RecordedEvent},
    },
    uuid::{Structured, Value},
};
use futures_core::Stream;
use uuid::Uuid;

use crate::store::{
    ReadDirection,
    kurrentdb::records::log_record::{ProposedRecord, WireRecord},
};

/// How many records the server looks at before it tells how far it is.
const WINDOW: u32 = 1_000;

/// Where to read a stream.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct StreamPage {
    pub(in crate::store::kurrentdb) name: String,
    /// The end without one.
    pub(in crate::store::kurrentdb) from: Option<u64>,
    pub(in crate::store::kurrentdb) direction: ReadDirection,
    pub(in crate::store::kurrentdb) count: usize,
}

impl StreamPage {
    /// The newest record of a stream.
    pub(in crate::store::kurrentdb) fn newest(name: String) -> Self {
        Self { name, from: None, direction: ReadDirection::Backward, count: 1 }
    }

    /// The request for it.
    pub(in crate::store::kurrentdb) fn request(&self) -> ReadReq {
        let name = self.name.clone().into_bytes().into();
        let stream = StreamOptions {
            stream_identifier: Some(StreamIdentifier { stream_name: name }),
            revision_option: Some(self.from.map_or(RevisionOption::End(Empty {}), RevisionOption::Revision)),
        };
        let read_direction = match self.direction {
            ReadDirection::Forward => options::ReadDirection::Forwards,
            ReadDirection::Backward => options::ReadDirection::Backwards,
        };
        let options = Options {
            stream_option: Some(StreamOption::Stream(stream)),
            read_direction: read_direction.into(),
            resolve_links: false,
            count_option: Some(CountOption::Count(self.count as u64)),
            filter_option: Some(FilterOption::NoFilter(Empty {})),
            uuid_option: Some(UuidOption { content: Some(uuid_option::Content::Structured(Empty {})) }),
            control_option: None,
        };
        ReadReq { options: Some(options) }
    }
}

/// Records for a stream of the database.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct StreamWrite {
    pub(in crate::store::kurrentdb) name: String,
    /// The revision that the first record gets.
    pub(in crate::store::kurrentdb) next: u64,
    pub(in crate::store::kurrentdb) records: Vec<ProposedRecord>,
}

impl StreamWrite {
    /// The parts of the request for it.
    pub(in crate::store::kurrentdb) fn request(&self) -> RequestParts {
        let expected = match self.next.checked_sub(1) {
            Some(last) => ExpectedStreamRevision::Revision(last),
            None => ExpectedStreamRevision::NoStream(Empty {}),
        };
        let options = append_req::Options {
            stream_identifier: Some(StreamIdentifier { stream_name: self.name.clone().into_bytes().into() }),
            expected_stream_revision: Some(expected),
        };
        let records = self.records.iter().cloned().map(proposed);
        let contents = std::iter::once(append_req::Content::Options(options)).chain(records);
        let parts: Vec<_> = contents.map(|content| AppendReq { content: Some(content) }).collect();
        RequestParts(parts.into_iter())
    }
}

fn proposed(record: ProposedRecord) -> append_req::Content {
    let (most, least) = record.id.as_u64_pair();
    let id =
        Structured { most_significant_bits: most.cast_signed(), least_significant_bits: least.cast_signed() };
    let content_type = if record.is_json { "application/json" } else { "application/octet-stream" };
    append_req::Content::ProposedMessage(append_req::ProposedMessage {
        id: Some(WireUuid { value: Some(Value::Structured(id)) }),
        metadata: HashMap::from([
            ("type".to_owned(), record.kind),
            ("content-type".to_owned(), content_type.to_owned()),
        ]),
        custom_metadata: record.metadata,
        data: record.data,
    })
}

/// What an append sends, one after the other.
pub(in crate::store::kurrentdb) struct RequestParts(std::vec::IntoIter<AppendReq>);

impl Stream for RequestParts {
    type Item = AppendReq;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<AppendReq>> {
        Poll::Ready(self.0.next())
    }
}

/// Reads records whose streams have one of these prefixes, from a position on and including it.
pub(in crate::store::kurrentdb) fn read_all(prefixes: Vec<String>, from: u64, count: u64) -> ReadReq {
    request(
        prefixes,
        AllOption::Position(options::Position { commit_position: from, prepare_position: from }),
        CountOption::Count(count),
    )
}

/// Follows them from after a position on.
pub(in crate::store::kurrentdb) fn subscribe(prefixes: Vec<String>, after: u64) -> ReadReq {
    request(
        prefixes,
        AllOption::Position(options::Position { commit_position: after, prepare_position: after }),
        CountOption::Subscription(SubscriptionOptions {}),
    )
}

fn request(prefixes: Vec<String>, place: AllOption, count: CountOption) -> ReadReq {
    let filter = FilterOptions {
        filter: Some(Filter::StreamIdentifier(Expression { regex: String::new(), prefix: prefixes })),
        window: Some(Window::Max(WINDOW)),
        checkpoint_interval_multiplier: 1,
    };
    let options = Options {
        stream_option: Some(StreamOption::All(AllOptions { all_option: Some(place) })),
        read_direction: options::ReadDirection::Forwards.into(),
        resolve_links: false,
        count_option: Some(count),
        filter_option: Some(FilterOption::Filter(filter)),
        uuid_option: Some(UuidOption { content: Some(uuid_option::Content::Structured(Empty {})) }),
        control_option: None,
    };
    ReadReq { options: Some(options) }
}

/// The record in an answer, if it has one.
pub(in crate::store::kurrentdb) fn record(answer: ReadResp) -> Option<WireRecord> {
    match answer.content? {
        Content::Event(event) => event.event.and_then(wire_record),
        _ => None,
    }
}

fn wire_record(mut record: RecordedEvent) -> Option<WireRecord> {
    Some(WireRecord {
        stream: String::from_utf8(record.stream_identifier?.stream_name.to_vec()).ok()?,
        revision: record.stream_revision,
        position: record.commit_position,
        id: id(record.id?.value?)?,
        kind: record.metadata.remove("type")?,
        data: record.data,
        metadata: record.custom_metadata,
    })
}

fn id(value: Value) -> Option<Uuid> {
    match value {
        Value::Structured(Structured { most_significant_bits, least_significant_bits }) => {
            Some(Uuid::from_u64_pair(
                most_significant_bits.cast_unsigned(),
                least_significant_bits.cast_unsigned(),
            ))
        }
        Value::String(text) => Uuid::parse_str(&text).ok(),
    }
}
