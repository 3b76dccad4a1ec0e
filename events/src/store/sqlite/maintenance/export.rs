//! Every event of a log, one after the other, as it is at one moment.
//!
//! All of it is one read transaction: a service that truncates streams meanwhile does not change what is read, so the
//! result can be imported. Until the export ends, the write-ahead log of that service grows.
//!
//! At damage it ends with an error. If it is told to skip damage, it leaves out the rows that cannot be read, and everything
//! after such a row in the same stream: an aggregate is the result of all of its events, so each stream is exported as it
//! was at some moment. A stream whose start cannot be read is not exported at all.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use rusqlite::Connection;

use crate::{
    Position, RecordedEvent, StreamName, Version,
    store::{
        MAX_READ_EVENTS, ReadError,
        sqlite::{
            OpenError, ProgressCallback, WorkProgress,
            maintenance::backup,
            reading::read_only,
            tables::{event_query, stream_index::StreamHeads},
        },
    },
};

/// What to do at a row that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamagePolicy {
    /// End with an error.
    Stops,
    /// Go on after it.
    IsSkipped,
}

/// What was left out of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOmissions {
    /// The first and the last position of each range that cannot be read.
    pub positions: Vec<(Position, Position)>,
    /// For each stream that ends early, how many events were left out after its end.
    pub behind: BTreeMap<StreamName, u64>,
}

/// Passes every event of a data directory, or of a backup's file, to `each`.
///
/// # Errors
/// When the log cannot be opened or read, and every error of `each`.
pub fn export<E: From<OpenError> + From<ReadError>>(
    path: &Path,
    damage: DamagePolicy,
    report: ProgressCallback<'_>,
    each: &mut dyn FnMut(&RecordedEvent) -> Result<(), E>,
) -> Result<ExportOmissions, E> {
    let _underway = backup::begin(path).map_err(OpenError::from)?;
    let conn = read_only::open(&read_only::log_file(path))?;
    let _moment = conn.unchecked_transaction().map_err(event_query::failed)?;
    let head = event_query::last_position(&conn).map_err(event_query::failed)?;
    let (versions, left_out) = (HashMap::new(), ExportOmissions::default());
    let mut exporting = LogExport { conn: &conn, damage, versions, left_out };
    let mut after = Position::START;
    while after < head {
        let events = exporting.next(after, head)?;
        after = events.end;
        for event in &events.read {
            if exporting.follows(event)? {
                each(event)?;
            }
        }
        report(WorkProgress { what: "positions", done: after.as_u64(), total: head.as_u64() });
    }
    Ok(exporting.left_out)
}

struct LogExport<'a> {
    conn: &'a Connection,
    damage: DamagePolicy,
    /// The last exported version of each stream; empty unless damage is skipped.
    versions: HashMap<StreamName, Version>,
    left_out: ExportOmissions,
}

/// Consecutive events, and how far the log was read.
struct LogStretch {
    read: Vec<RecordedEvent>,
    end: Position,
}

impl LogExport<'_> {
    fn next(&mut self, after: Position, head: Position) -> Result<LogStretch, ReadError> {
        match event_query::read_all(self.conn, after, MAX_READ_EVENTS) {
            Ok(read) => {
                let end = read.last().map_or(head, |event| event.position);
                Ok(LogStretch { read, end })
            }
            Err(_damaged) if self.damage == DamagePolicy::IsSkipped => Ok(self.salvage(after, head)),
            Err(error) => Err(error),
        }
    }

    /// Reads the same number of positions one by one.
    fn salvage(&mut self, after: Position, head: Position) -> LogStretch {
        let until = Position::from_u64(after.as_u64() + MAX_READ_EVENTS as u64).min(head);
        let mut stretch = LogStretch { read: Vec::new(), end: after };
        while stretch.end < until {
            match event_query::read_all(self.conn, stretch.end, 1) {
                Ok(one) => {
                    stretch.end = one.last().map_or(head, |event| event.position);
                    stretch.read.extend(one);
                }
                Err(error) => {
                    stretch.end = match error {
                        ReadError::EventDamaged { position, .. } if position > stretch.end => position,
                        // The whole page cannot be read, so what is next on it is unknown.
                        _ => Position::from_u64(stretch.end.as_u64() + 1),
                    };
                    self.leave_out(stretch.end);
                }
            }
        }
        stretch
    }

    fn leave_out(&mut self, position: Position) {
        match self.left_out.positions.last_mut() {
            Some((_, last)) if last.as_u64() + 1 == position.as_u64() => *last = position,
            _ => self.left_out.positions.push((position, position)),
        }
    }

    /// Whether an event is the next of its stream; if not, the stream ended before it.
    fn follows(&mut self, event: &RecordedEvent) -> Result<bool, ReadError> {
        let RecordedEvent { stream, version, .. } = event;
        if self.damage == DamagePolicy::Stops {
            return Ok(true);
        }
        let follows = match self.versions.get_mut(stream) {
            Some(last) if last.plus(1) == *version => {
                *last = *version;
                true
            }
            Some(_) => false,
            None => {
                let is_begin = version.as_u64() == 1 || self.begins_at(event)?;
                self.versions.insert(stream.clone(), if is_begin { *version } else { Version::NONE });
                is_begin
            }
        };
        if !follows {
            *self.left_out.behind.entry(stream.clone()).or_default() += 1;
        }
        Ok(follows)
    }

    /// Whether everything before an event was truncated away: the index knows where such streams begin.
    fn begins_at(&self, event: &RecordedEvent) -> Result<bool, ReadError> {
        let head =
            StreamHeads::default().find(self.conn, event.stream.as_str()).map_err(event_query::failed)?;
        Ok(head.is_some_and(|head| head.first == event.version))
    }
}
