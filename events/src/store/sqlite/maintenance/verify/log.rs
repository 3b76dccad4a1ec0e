//! The rows of the log, one after the other.

use rusqlite::Connection;

use super::{
    LogBounds,
    links::{LatestEvents, LogRows, RowAt},
};
use crate::{
    Position, RecordedEvent, StreamName,
    codec::{self, CodecError},
    event::CATALOGUE,
    store::{
        MAX_READ_EVENTS, ReadError,
        sqlite::{
            ProgressCallback, WorkProgress,
            maintenance::verification::{DefectKind, StoreVerification},
            tables::{
                event_query,
                row::{self, COLUMNS, LinkedEvent},
                schema,
                stream_index::{StreamHead, StreamHeads},
            },
        },
    },
};

/// How many positions are skipped where pages cannot be read.
const SKIP: u64 = 100;

/// Reads every row after `found.from`.
pub(super) fn check(
    conn: &Connection,
    at: LogBounds,
    found: &mut StoreVerification,
    report: ProgressCallback<'_>,
) -> rusqlite::Result<()> {
    let from = found.from;
    let mut scan = LogScan {
        conn,
        rows: LogRows::new(conn)?,
        latest: LatestEvents::default(),
        last: Some(from),
        at,
        found,
    };
    let total = at.head.as_u64().saturating_sub(from.as_u64());
    let mut after = from;
    while after < at.head {
        after = match scan.step(after) {
            Ok(Some(last)) => last,
            Ok(None) => break,
            Err(error) => scan.skip(after, &error),
        };
        let done = after.as_u64().saturating_sub(from.as_u64()).min(total);
        report(WorkProgress { what: "events", done, total });
    }
    // After the last event positions may have been given out, and their events removed.
    scan.found.verified_to = at.head.max(from.min(at.floor));
    Ok(())
}

struct LogScan<'a> {
    conn: &'a Connection,
    rows: LogRows<'a>,
    latest: LatestEvents,
    /// The previous row; `None` when it could not be read.
    last: Option<Position>,
    at: LogBounds,
    found: &'a mut StoreVerification,
}

impl LogScan<'_> {
    /// Checks some rows. Returns the position of the last.
    fn step(&mut self, after: Position) -> rusqlite::Result<Option<Position>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM log WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT {MAX_READ_EVENTS}"
        );
        let mut batch = Vec::with_capacity(MAX_READ_EVENTS);
        {
            let mut statement = self.conn.prepare_cached(&sql)?;
            let mut rows = statement.query((after, self.at.head))?;
            while let Some(row) = rows.next()? {
                batch.push((row.get::<_, Position>(0)?, row::decode(row)));
            }
        }
        for (position, decoded) in &batch {
            self.found.events += 1;
            self.follows(*position);
            match decoded {
                Ok(LinkedEvent { recorded, previous }) => self.event(recorded, *previous),
                Err(error) => {
                    let reason = match error {
                        ReadError::EventDamaged { reason, .. } => reason.clone(),
                        other => other.to_string(),
                    };
                    let stream = self.stream_at(*position);
                    self.found.defect(DefectKind::Checksum, *position, &stream, reason);
                }
            }
        }
        Ok(batch.last().map(|(position, _)| *position))
    }

    fn skip(&mut self, after: Position, error: &rusqlite::Error) -> Position {
        let to = Position::from_u64(after.as_u64() + SKIP).min(self.at.head);
        // The rows before the unreadable page are read one by one: only what is damaged is skipped.
        let mut reached = after;
        for number in after.as_u64() + 1..=to.as_u64() {
            let position = Position::from_u64(number);
            let linked = event_query::read_all(self.conn, Position::from_u64(number - 1), 1);
            if linked.is_ok_and(|events| events.first().is_some_and(|event| event.position == position)) {
                reached = position;
                self.found.events += 1;
            }
        }
        if reached < to {
            let what = format!("pages cannot be read between here and position {to}: {error}");
            self.found.defect(DefectKind::Pages, Position::from_u64(reached.as_u64() + 1), "", what);
        }
        self.last = None;
        to
    }

    /// Positions have no gaps, except up to the floor, where events were removed.
    fn follows(&mut self, position: Position) {
        let Some(last) = self.last.replace(position) else { return };
        let expected = last.max(self.at.floor).as_u64() + 1;
        if position.as_u64() <= expected {
            return;
        }
        // Something may have been removed since the work started.
        let floor = schema::meta(self.conn, "floor").unwrap_or_default();
        if floor + 1 < position.as_u64() {
            let what = format!("positions {expected} to {} are missing", position.as_u64() - 1);
            self.found.defect(DefectKind::Missing, Position::from_u64(expected), "", what);
        }
    }

    fn event(&mut self, recorded: &RecordedEvent, previous: Position) {
        self.envelope(recorded);
        self.link(recorded, previous);
        if let Err(error) = codec::decode(recorded) {
            // serde's text may quote the data, which a visitor may have written.
            let what = match error {
                CodecError::Malformed { kind, .. } => format!("the data of `{kind}` do not decode"),
                other => other.to_string(),
            };
            self.found.defect(DefectKind::Codec, recorded.position, recorded.stream.as_str(), what);
        }
    }

    fn envelope(&mut self, recorded: &RecordedEvent) {
        let event = &recorded.event;
        let stream = recorded.stream.as_str();
        let mut wrong =
            |what: String| self.found.defect(DefectKind::Envelope, recorded.position, stream, what);
        if recorded.stream.kind().is_none() {
            wrong("this is not the name of a stream".to_owned());
        }
        let prefix = stream.split(':').next().unwrap_or_default();
        if CATALOGUE.iter().any(|known| known.name == event.kind && known.stream != prefix) {
            wrong(format!("`{}` does not belong on this stream", event.kind));
        }
        if uuid::Uuid::from_bytes(*event.id.as_bytes()).get_version_num() != 7 {
            wrong("the id is no UUIDv7".to_owned());
        }
        if event.time.as_millis() <= 0 || event.actor.is_empty() || event.causation.is_empty() {
            wrong("time, author or cause are missing".to_owned());
        }
    }

    /// Checks that the previous event of the stream exists, and that no other event follows that one.
    fn link(&mut self, recorded: &RecordedEvent, previous: Position) {
        let RecordedEvent { position, stream, version, .. } = recorded;
        let (position, version) = (*position, *version);
        let newest = self.latest.replace(stream, position, version);
        let is_first = version.as_u64() == 1 && previous == Position::START;
        match newest {
            Some((place, before)) if place == previous && before.plus(1) == version => return,
            None if is_first => return,
            _ => {}
        }
        let what = match self.rows.at(previous) {
            _ if is_first => None,
            _ if version.as_u64() <= 1 || previous >= position => {
                Some(format!("version {version} says that position {previous} is before it"))
            }
            RowAt::Event { stream: other, version: before, .. }
                if other == *stream && before.plus(1) == version =>
            {
                None
            }
            RowAt::Event { .. } => {
                Some(format!("position {previous} is not version {} of its stream", version.as_u64() - 1))
            }
            // It was reported at its own position.
            RowAt::Damaged => return,
            RowAt::Nothing if self.begins_at(recorded) => return,
            RowAt::Nothing => {
                Some(format!("version {} at position {previous} is missing", version.as_u64() - 1))
            }
        };
        match (what, newest) {
            (Some(what), _) => self.found.defect(DefectKind::Link, position, stream.as_str(), what),
            // The link is good, but the event that it names is not the newest: two events follow it.
            (None, Some((place, _))) if matches!(self.rows.at(place), RowAt::Event { .. }) => {
                let what = format!("version {version} is there although {place} is of the same stream");
                self.found.defect(DefectKind::Link, position, stream.as_str(), what);
            }
            (None, _) => {}
        }
    }

    /// Whether everything before an event was truncated away, or the event itself was removed meanwhile.
    fn begins_at(&mut self, recorded: &RecordedEvent) -> bool {
        let head = StreamHeads::default().find(self.conn, recorded.stream.as_str());
        let is_begin = matches!(head, Ok(Some(head)) if head.first == recorded.version);
        is_begin || matches!(self.rows.at(recorded.position), RowAt::Nothing) || self.index_is_behind(&head)
    }

    /// Without an index, nobody knows which streams were truncated.
    fn index_is_behind(&self, head: &rusqlite::Result<Option<StreamHead>>) -> bool {
        matches!(head, Ok(None)) && schema::meta(self.conn, "indexed").is_ok_and(|indexed| indexed == 0)
    }

    /// The stream that a damaged row names, if that much of it can be read.
    fn stream_at(&self, position: Position) -> String {
        let sql = "SELECT stream FROM log WHERE position = ?1";
        let read = self.conn.query_row(sql, [position], |row| row.get::<_, String>(0));
        read.ok().filter(|name| StreamName::parse(name).is_ok()).unwrap_or_default()
    }
}
