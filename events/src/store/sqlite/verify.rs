//! Reads a store whole and reports what in it does not fit.
//!
//! Every row of the log is read once, in the order of positions: its checksum, its envelope, whether this
//! release decodes it, and its link to the event before it in its stream, which has to be there with the
//! version below. Then the index is compared with the log, and so are the files beside it. Nothing is changed and
//! nothing is locked: it works beside a running service, up to where the log ended when it started. What SQLite is
//! asked about a file, and what is in the files beside the log, is as it is at one moment; the log and its
//! index are read in short transactions, so that the service can cut its write-ahead log in between.
//!
//! Memory does not grow with the log. The newest event of up to half a million streams is remembered, so
//! that most links are followed without a lookup; every other one is looked up by its position. Whether
//! the index has all streams follows from counting events. A long list of defects is cut, and counted.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::{Serialize, Serializer};

use super::{
    OpenError, StoreFiles, companion, read_only, readable, schema,
    work_progress::{ProgressCallback, WorkProgress},
};
use crate::{Position, store::Epoch};

mod index;
mod links;
mod log;
mod marks;
mod witness_check;

/// The most problems that are listed; all are counted.
const LISTED: usize = 100;

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefectKind {
    /// SQLite's pages do not make a database.
    Pages,
    /// A row is not what was written.
    Checksum,
    /// Positions that were given out are not there.
    Missing,
    /// The log ends before where an earlier run came to.
    End,
    /// An event and the one before it in its stream do not belong together.
    Link,
    /// Stream, type, id, time or author are none.
    Envelope,
    /// This release does not read the data.
    Codec,
    /// `streams` does not say where a stream begins or ends.
    Head,
    /// `marks` names another event.
    Mark,
    /// What the store keeps about itself.
    Meta,
    /// `log.witness`
    Witness,
    /// A database beside the log.
    Companion {
        /// Its name.
        name: &'static str,
        /// What an operator does about it.
        advice: &'static str,
    },
}

impl DefectKind {
    /// What an operator does about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Pages | Self::Checksum | Self::Missing | Self::Link | Self::Envelope => {
                "stop the service, move the directory away, restore the newest backup (`amoiq restore`)"
            }
            Self::Codec => "run the release that wrote it, or have it skipped: `amoiq rebuild --skip`",
            Self::Head | Self::Mark | Self::Meta => "stop the service and run `amoiq verify --repair`",
            Self::End | Self::Witness => "compare with a backup: acknowledged events may be missing",
            Self::Companion { advice, .. } => advice,
        }
    }

    /// Its name in the answers of commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Checksum => "checksum",
            Self::Missing => "missing",
            Self::End => "end",
            Self::Link => "link",
            Self::Envelope => "envelope",
            Self::Codec => "codec",
            Self::Head => "head",
            Self::Mark => "mark",
            Self::Meta => "meta",
            Self::Witness => "witness",
            Self::Companion { name, .. } => name,
        }
    }
}

impl Serialize for DefectKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreDefect {
    /// What sort of thing.
    pub kind: DefectKind,
    /// Where; 0 when it is not about an event.
    pub position: Position,
    /// Which stream, as far as it can be read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// What does not fit. No text of a message is in it.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

/// What was read, and what did not fit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StoreVerification {
    /// Whether everything fits.
    pub clean: bool,
    /// Of the log.
    pub epoch: String,
    /// Events after this position were read.
    pub from: Position,
    /// And up to this one: a later run can begin here.
    pub verified_to: Position,
    /// So many.
    pub events: u64,
    /// Streams: those of the index, which were compared, and those that a running service has not written there yet.
    pub streams: u64,
    /// The first problems.
    pub problems: Vec<StoreDefect>,
    /// How many there are of each kind.
    pub counts: BTreeMap<DefectKind, u64>,
    /// What was not checked, and what is remarkable though it fits.
    pub notes: Vec<String>,
}

impl StoreVerification {
    pub(super) fn defect(
        &mut self,
        kind: DefectKind,
        position: Position,
        stream: &str,
        what: impl Into<String>,
    ) {
        *self.counts.entry(kind).or_default() += 1;
        if self.problems.len() < LISTED {
            let (stream, what) = (stream.to_owned(), what.into());
            self.problems.push(StoreDefect { kind, position, stream, what, advice: kind.advice() });
        }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Has SQLite check every page: rows on a page that no way leads to would be missed otherwise. It also checks
    /// whether keys are in order and indexes have what their tables have: where they are not, a search misses what a
    /// scan finds. All of it is one moment of the file.
    pub(super) fn check_pages(&mut self, conn: &Connection, file: &str, kind: DefectKind) {
        let looked = conn.prepare("PRAGMA integrity_check(20)").and_then(|mut statement| {
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        });
        match looked {
            Ok(lines) => {
                for line in lines.iter().filter(|line| *line != "ok") {
                    self.defect(kind, Position::START, "", format!("{file}: {line}"));
                }
            }
            Err(error) => self.defect(kind, Position::START, "", format!("{file}: {error}")),
        }
    }

    /// Whether it can be copied as it is. An event that this release does not decode is what was written, and
    /// stays so in any copy.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.counts.keys().all(|kind| *kind == DefectKind::Codec)
    }

    /// How many problems there are.
    #[must_use]
    pub fn problem_count(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Reads a store after a position.
pub(super) fn verify(
    files: StoreFiles<'_>,
    from: Position,
    report: ProgressCallback<'_>,
) -> Result<StoreVerification, OpenError> {
    let log_file = read_only::log_file(files.path);
    let found = look(files, from, report).map_err(|error| error.judged(&log_file))?;
    // Whether what does not fit was read at all. Nobody restores a backup for a disk that is back in a moment.
    let is_counted = |kind| found.counts.contains_key(&kind);
    let beside = files.companions.iter().filter(|companion| is_counted(companion.kind()));
    let doubtful = is_counted(DefectKind::Pages).then_some(log_file);
    let mut doubtful = doubtful.into_iter().chain(beside.map(|companion| companion.file(files.path)));
    match doubtful.find_map(|file| readable::find(&file)) {
        Some(unreadable) => Err(OpenError::Unreadable(unreadable)),
        None => Ok(found),
    }
}

fn look(
    files: StoreFiles<'_>,
    from: Position,
    report: ProgressCallback<'_>,
) -> Result<StoreVerification, OpenError> {
    let conn = read_only::open(&read_only::log_file(files.path))?;
    let mut found = StoreVerification { from, verified_to: from, ..StoreVerification::default() };
    report(WorkProgress { what: "pages", done: 0, total: 0 });
    found.check_pages(&conn, "log.db", DefectKind::Pages);
    let Some(at) = LogBounds::read(&conn, &mut found) else { return Ok(found) };
    found.epoch = Epoch(at.epoch).to_string();
    let end = at.head.max(at.floor);
    if from > end {
        let what =
            format!("the log ends at {end}, before --from {from}: it lost its end, or this is another log");
        found.defect(DefectKind::End, end, "", what);
    }
    log::check(&conn, at, &mut found, report)?;
    if let Err(error) = index::check(&conn, at, &mut found, report) {
        found.defect(DefectKind::Pages, Position::START, "", format!("the index does not read: {error}"));
    }
    if files.path.is_dir() {
        witness_check::check(&files.path.join("log.witness"), &conn, &mut found);
        companion::check_files(files.path, files.companions, &conn, &mut found);
    } else {
        companion::check_packed(&conn, files.companions, &mut found);
    }
    found.clean = found.problem_count() == 0;
    Ok(found)
}

/// Compares the databases in a backup's file with the log in it, and looks at nothing else.
pub(super) fn verify_packed(files: StoreFiles<'_>) -> Result<StoreVerification, OpenError> {
    let conn = read_only::open(files.path)?;
    let mut found = StoreVerification::default();
    companion::check_packed(&conn, files.companions, &mut found);
    found.clean = found.problem_count() == 0;
    Ok(found)
}

/// What the log says of itself as it is when the work begins.
#[derive(Clone, Copy)]
struct LogBounds {
    /// Up to here it is read.
    head: Position,
    /// Up to here events may have been removed, and positions be missing.
    floor: Position,
    epoch: u64,
}

impl LogBounds {
    fn read(conn: &Connection, found: &mut StoreVerification) -> Option<Self> {
        // One moment: where the last event is removed in between, a log would seem to have lost its end.
        let begun = conn.unchecked_transaction();
        let _moment = begun
            .map_err(|error| found.defect(DefectKind::Pages, Position::START, "", error.to_string()))
            .ok()?;
        let mut number = |key: &str| {
            schema::meta(conn, key)
                .map_err(|error| {
                    found.defect(DefectKind::Meta, Position::START, "", format!("meta `{key}`: {error}"))
                })
                .ok()
        };
        let (epoch, floor, indexed) = (number("epoch"), number("floor"), number("indexed"));
        let last = super::query::last_position(conn);
        let last = last
            .map_err(|error| found.defect(DefectKind::Pages, Position::START, "", error.to_string()))
            .ok()?;
        let floor = Position::from_u64(floor.unwrap_or(last.as_u64()));
        let head = last.max(floor);
        if indexed.is_some_and(|indexed| indexed > head.as_u64()) {
            found.defect(DefectKind::Meta, Position::START, "", "the index is said to be ahead of the log");
        }
        Some(Self { head: last, floor, epoch: epoch.unwrap_or_default() })
    }
}
