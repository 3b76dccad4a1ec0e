//! From the log's bytes to an event, whatever release wrote them.
//!
//! An event is written in its current schema and read in any: data of an older schema passes the
//! [`Upcaster`]s of its type, one version at a time, before it is decoded.

use std::borrow::Cow;

use serde_json::{Value, error::Category};

use crate::{Event, NewEvent, Position, RecordedEvent, event::CATALOGUE, session::SessionEvent};

/// Lifts the data of one type from schema `from` to `from + 1`.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The dotted type.
    pub kind: &'static str,
    /// The schema it takes.
    pub from: u16,
    /// Gives the data as the next schema has it.
    pub lift: fn(Value) -> Value,
}

/// The upcasters of this release. No type has had a second schema yet.
const UPCASTERS: &[Upcaster] = &[];

/// Why bytes of the log are not an event.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A type that this release does not know: written by a newer one.
    #[error("position {position}: unknown event type `{kind}`")]
    UnknownType {
        /// Where.
        position: Position,
        /// The dotted type.
        kind: String,
    },
    /// A schema that this release cannot read: written by a newer one.
    #[error("position {position}: `{kind}` has schema {schema}, this release reads up to {current}")]
    UnknownSchema {
        /// Where.
        position: Position,
        /// The dotted type.
        kind: String,
        /// What is stored.
        schema: u16,
        /// What is written today.
        current: u16,
    },
    /// The data do not fit the type.
    #[error("position {position}: `{kind}` does not decode: {reason}")]
    Malformed {
        /// Where.
        position: Position,
        /// The dotted type.
        kind: String,
        /// What kind of mistake it is, and where in the data. Never the data themselves: visitors wrote them.
        reason: String,
    },
}

/// Reads an event of the log.
///
/// # Errors
/// A [`CodecError`]: the log is newer than the program, or it was damaged in a way that no checksum saw.
pub fn decode(recorded: &RecordedEvent) -> Result<Event, CodecError> {
    decode_with(recorded, UPCASTERS)
}

/// The data of an event of the log as the current schema has them, for whoever needs only a part of
/// them and decodes that.
///
/// # Errors
/// As [`decode`], except that data that do not fit their type are found only when they are decoded.
pub fn data(recorded: &RecordedEvent) -> Result<Cow<'_, [u8]>, CodecError> {
    lifted(recorded, UPCASTERS)
}

fn decode_with(recorded: &RecordedEvent, upcasters: &[Upcaster]) -> Result<Event, CodecError> {
    let data = lifted(recorded, upcasters)?;
    let decoded = Event::decode_current(&recorded.event.kind, &data).ok_or_else(|| unknown(recorded))?;
    let mut event = decoded.map_err(|error| CodecError::malformed(recorded, &error))?;
    if let Event::Session(SessionEvent::ConversationStarted(started)) = &mut event {
        started.conversation_id = recorded.event.id.into();
    }
    Ok(event)
}

fn lifted<'a>(recorded: &'a RecordedEvent, upcasters: &[Upcaster]) -> Result<Cow<'a, [u8]>, CodecError> {
    let NewEvent { kind, schema, data, .. } = &recorded.event;
    let known = CATALOGUE.iter().find(|known| known.name == *kind);
    let current = known.ok_or_else(|| unknown(recorded))?.schema;
    if *schema > current || *schema == 0 {
        let (position, kind, schema) = (recorded.position, kind.to_string(), *schema);
        return Err(CodecError::UnknownSchema { position, kind, schema, current });
    }
    lift(kind, *schema, data, upcasters).map_err(|error| CodecError::malformed(recorded, &error))
}

fn unknown(recorded: &RecordedEvent) -> CodecError {
    CodecError::UnknownType { position: recorded.position, kind: recorded.event.kind.to_string() }
}

impl CodecError {
    /// The data of an event do not fit its type.
    #[must_use]
    pub fn malformed(recorded: &RecordedEvent, error: &serde_json::Error) -> Self {
        let kind = recorded.event.kind.to_string();
        Self::Malformed { position: recorded.position, kind, reason: place(error) }
    }
}

/// serde's own text quotes the data, and this text goes to logs and files that no erasure reaches.
fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Io => "the data cannot be read",
        Category::Syntax => "the data are not JSON",
        Category::Data => "the data have another shape",
        Category::Eof => "the data end too early",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

fn lift<'a>(
    kind: &str,
    mut schema: u16,
    data: &'a [u8],
    upcasters: &[Upcaster],
) -> Result<Cow<'a, [u8]>, serde_json::Error> {
    let next = |schema| upcasters.iter().find(|step| step.kind == kind && step.from == schema);
    if next(schema).is_none() {
        return Ok(Cow::Borrowed(data));
    }
    let mut value = serde_json::from_slice(data)?;
    while let Some(step) = next(schema) {
        value = (step.lift)(value);
        schema += 1;
    }
    serde_json::to_vec(&value).map(Cow::Owned)
}

/// The catalogue's own string for a type, so that reading a log allocates none.
pub(crate) fn intern(kind: &str) -> Cow<'static, str> {
    CATALOGUE
        .iter()
        .find(|known| known.name == kind)
        .map_or_else(|| Cow::Owned(kind.to_owned()), |known| Cow::Borrowed(known.name))
}

#[cfg(test)]
mod tests;
