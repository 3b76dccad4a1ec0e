//! An event as a line of JSON: every field of its envelope and exactly the bytes of its data.
//!
//! Lines carry a log from one store to another. What was written is read back to the bit; a line that has another key, or
//! lacks one, is refused. After the last event comes an end line, which says how many there are: without it nobody knows
//! whether lines were lost.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{EventId, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version, codec};

/// Why a line is not an event.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLine {
    /// Not JSON, or not with these keys.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// A value that no event has.
    #[error("`{0}` is not a value that an event has")]
    Value(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventLine<'a> {
    position: Position,
    stream: std::borrow::Cow<'a, str>,
    version: Version,
    id: EventId,
    #[serde(rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    schema: u16,
    time: Timestamp,
    causation: std::borrow::Cow<'a, str>,
    actor: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    /// Instead of `data`, if its bytes are not JSON that a line preserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_hex: Option<String>,
}

/// What the last line says: how many events are before it, and where the last of them is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportEnd {
    /// How many events there are.
    pub events: u64,
    /// The position of the last.
    pub position: Position,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    end: ExportEnd,
}

/// The line of an event, without a newline.
///
/// # Errors
/// When RFC 3339 cannot express its time.
pub fn write(recorded: &RecordedEvent) -> Result<String, InvalidLine> {
    let RecordedEvent { position, stream, version, event } = recorded;
    if Timestamp::parse(&event.time.to_string()) != Some(event.time) {
        return Err(InvalidLine::Value("time"));
    }
    let json = as_it_is(&event.data);
    let line = EventLine {
        position: *position,
        stream: stream.as_str().into(),
        version: *version,
        id: event.id,
        kind: (&*event.kind).into(),
        schema: event.schema,
        time: event.time,
        causation: (&*event.causation).into(),
        actor: (&*event.actor).into(),
        data: json,
        data_hex: json.is_none().then(|| hex::encode(&event.data)),
    };
    Ok(serde_json::to_string(&line)?)
}

/// Reads the event of a line.
///
/// # Errors
/// An [`InvalidLine`].
pub fn read(line: &str) -> Result<RecordedEvent, InvalidLine> {
    let line: EventLine<'_> = serde_json::from_str(line)?;
    let data = match (line.data, line.data_hex) {
        (Some(json), None) => json.get().as_bytes().into(),
        (None, Some(digits)) => match hex::decode(digits) {
            Ok(data) => data.into(),
            Err(_not_hex) => return Err(InvalidLine::Value("dataHex")),
        },
        _ => return Err(InvalidLine::Value("data")),
    };
    if line.position == Position::START || i64::try_from(line.position.as_u64()).is_err() {
        return Err(InvalidLine::Value("position"));
    }
    Ok(RecordedEvent {
        position: line.position,
        stream: StreamName::parse(&line.stream).map_err(|_not_a_name| InvalidLine::Value("stream"))?,
        version: line.version,
        event: NewEvent {
            id: line.id,
            kind: codec::intern(&line.kind),
            schema: line.schema,
            time: line.time,
            causation: line.causation.into(),
            actor: line.actor.into(),
            data,
        },
    })
}

/// The last line, without a newline.
#[must_use]
pub fn write_end(ExportEnd { events, position }: ExportEnd) -> String {
    format!(r#"{{"end":{{"events":{events},"position":{position}}}}}"#)
}

/// What the last line says; `None` when it is another line.
#[must_use]
pub fn read_end(line: &str) -> Option<ExportEnd> {
    serde_json::from_str(line).ok().map(|EndLine { end }| end)
}

/// The data as JSON, if reading the line gives the same bytes again.
fn as_it_is(data: &[u8]) -> Option<&RawValue> {
    let text = str::from_utf8(data).ok()?;
    let json: &RawValue = serde_json::from_str(text).ok()?;
    // A value without anything around it, and not `null`, which would be read as absent.
    (json.get() == text && text != "null" && !text.contains(['\n', '\r'])).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &[u8]) -> RecordedEvent {
        RecordedEvent {
            position: Position::from_u64(9),
            stream: StreamName::node("a b"),
            version: Version::from_u64(3),
            event: NewEvent {
                id: EventId::from_uuid(uuid::Uuid::from_u128(5)),
                kind: "node.started".into(),
                schema: 1,
                time: Timestamp::from_millis(1_705_314_600_123),
                causation: "c \" \n".into(),
                actor: "".into(),
                data: data.into(),
            },
        }
    }

    #[test]
    fn an_event_reads_back_to_the_bit() {
        let datas: [&[u8]; 7] = [b"{}", b"{\"a\": 1.50}", b" {}", b"null", b"{\n}", &[0xff, 0], b""];
        for data in datas {
            let line = write(&event(data)).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(read(&line).unwrap(), event(data));
        }
    }

    #[test]
    fn an_end_reads_back_and_is_no_event() {
        let end = ExportEnd { events: 3, position: Position::from_u64(9) };
        let line = write_end(end);
        assert_eq!(line, r#"{"end":{"events":3,"position":9}}"#);
        assert_eq!(read_end(&line), Some(end));
        assert!(read(&line).is_err() && read_end(&write(&event(b"{}")).unwrap()).is_none());
        assert_eq!(read_end(&line.replace(r#","position":9"#, "")), None);
    }

    #[test]
    fn a_line_with_another_key_or_without_one_is_refused() {
        let line = write(&event(b"{}")).unwrap();
        assert!(read(&line.replace("\"actor\"", "\"author\"")).is_err());
        assert!(read(&line.replace(",\"data\":{}", "")).is_err());
        assert!(read(&line.replace("\"position\":9", "\"position\":0")).is_err());
        assert!(read(&line.replace("node:a%20b", "node:a b")).is_err());
    }
}
