//! Reads a store whole and says what in it does not fit.
//!
//! Every row of the log is read once, in the order of positions: its checksum, its envelope, whether this
//! release decodes it, and its link to the event before it in its stream, which has to be there with the
//! version below. Then the index is compared with the log, and the files beside it. Nothing is changed and
//! nothing is locked: it works beside a running service, up to where the log ended when it began. What SQLite is
//! asked about a file, and what stands in the files beside the log, is as it is at one moment; the log and its
//! index are read in short ones, so that the service can cut its write-ahead log in between.
//!
//! Memory does not grow with the log. The newest event of up to half a million streams is remembered, so
//! that most links are followed without a lookup; every other one is looked up by its position. Whether
//! the index has all streams follows from counting events. A long list of problems is cut, and counted.

use std::{collections::BTreeMap, path::Path};

use rusqlite::Connection;
use serde::Serialize;

use super::{
    OpenError, read_only, readable, schema,
    work::{Report, WorkProgress},
};
use crate::{Position, store::Epoch};

mod beside;
mod index;
mod links;
mod log;
mod marks;
mod outbox;
mod rows;
mod views;

pub use outbox::KEPT_ATTEMPTS;

/// The most problems that are listed; all are counted.
const LISTED: usize = 100;

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// SQLite's pages do not make a database.
    Pages,
    /// A row is not what was written.
    Checksum,
    /// Positions that were given out are not there.
    Missing,
    /// The log ends before where a run before came to.
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
    /// `views.db`
    Views,
    /// `outbox.db`
    Outbox,
}

impl Kind {
    /// What an operator does about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Pages | Self::Checksum | Self::Missing | Self::Link | Self::Envelope => {
                "stop the service, move the directory away, restore the newest backup (`amoiq restore`)"
            }
            Self::Codec => "run the release that wrote it, or let it be passed by: `amoiq rebuild --skip`",
            Self::Head | Self::Mark | Self::Meta => "stop the service and run `amoiq verify --repair`",
            Self::End | Self::Witness => "compare with a backup: acknowledged events may be missing",
            Self::Views => "none is needed: a service makes views.db again; stopped, it may be deleted",
            Self::Outbox => {
                "stop the service and take outbox.db out of a backup (docs/OPERATIONS.md, A corrupted file)"
            }
        }
    }
}

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What sort of thing.
    pub kind: Kind,
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
    pub problems: Vec<Problem>,
    /// How many there are of each kind.
    pub counts: BTreeMap<Kind, u64>,
    /// What was not checked, and what is remarkable though it fits.
    pub notes: Vec<String>,
}

impl StoreVerification {
    fn found(&mut self, kind: Kind, position: Position, stream: &str, what: impl Into<String>) {
        *self.counts.entry(kind).or_default() += 1;
        if self.problems.len() < LISTED {
            let (stream, what) = (stream.to_owned(), what.into());
            self.problems.push(Problem { kind, position, stream, what, advice: kind.advice() });
        }
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Whether it can be copied as it is. An event that this release does not decode is what was written, and
    /// stays so in any copy.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.counts.keys().all(|kind| *kind == Kind::Codec)
    }

    /// How many problems there are.
    #[must_use]
    pub fn problem_count(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Reads the store in a directory, or a backup's file, from behind a position on.
///
/// # Errors
/// When it cannot be opened at all. Damage that is found once it is open is in the answer.
pub fn verify(path: &Path, from: Position, report: Report<'_>) -> Result<StoreVerification, OpenError> {
    let log_file = read_only::log_file(path);
    let found = look(path, from, report).map_err(|error| error.judged(&log_file))?;
    // Whether what does not fit was read at all. Nobody restores a backup for a disk that is back in a moment.
    let doubtful = [
        (log_file, found.counts.contains_key(&Kind::Pages)),
        (path.join("views.db"), found.counts.contains_key(&Kind::Views)),
        (path.join("outbox.db"), found.counts.contains_key(&Kind::Outbox)),
    ];
    let mut files = doubtful.into_iter().filter_map(|(file, is_doubtful)| is_doubtful.then_some(file));
    match files.find_map(|file| readable::find(&file)) {
        Some(unreadable) => Err(OpenError::Unreadable(unreadable)),
        None => Ok(found),
    }
}

fn look(path: &Path, from: Position, report: Report<'_>) -> Result<StoreVerification, OpenError> {
    let conn = read_only::open(&read_only::log_file(path))?;
    let mut found = StoreVerification { from, verified_to: from, ..StoreVerification::default() };
    pages(&conn, "log.db", Kind::Pages, &mut found, report);
    let Some(at) = Bounds::read(&conn, &mut found) else { return Ok(found) };
    found.epoch = Epoch(at.epoch).to_string();
    let end = at.head.max(at.floor);
    if from > end {
        let what =
            format!("the log ends at {end}, before --from {from}: it lost its end, or this is another log");
        found.found(Kind::End, end, "", what);
    }
    log::check(&conn, at, &mut found, report)?;
    if let Err(error) = index::check(&conn, at, &mut found, report) {
        found.found(Kind::Pages, Position::START, "", format!("the index does not read: {error}"));
    }
    if path.is_dir() {
        beside::check(path, &conn, &mut found);
    } else {
        outbox::check_packed(&conn, &mut found);
    }
    found.clean = found.problem_count() == 0;
    Ok(found)
}

/// Compares the outbox in a backup's file with the log in it, and looks at nothing else.
pub(super) fn verify_outbox(file: &Path) -> Result<StoreVerification, OpenError> {
    let conn = read_only::open(file)?;
    let mut found = StoreVerification::default();
    outbox::check_packed(&conn, &mut found);
    found.clean = found.problem_count() == 0;
    Ok(found)
}

/// What the log says of itself as it is when the work begins.
#[derive(Clone, Copy)]
struct Bounds {
    /// Up to here it is read.
    head: Position,
    /// Up to here events may have been removed, and positions be missing.
    floor: Position,
    epoch: u64,
}

impl Bounds {
    fn read(conn: &Connection, found: &mut StoreVerification) -> Option<Self> {
        // One moment: where the last event is removed in between, a log would seem to have lost its end.
        let begun = conn.unchecked_transaction();
        let _moment =
            begun.map_err(|error| found.found(Kind::Pages, Position::START, "", error.to_string())).ok()?;
        let mut number = |key: &str| {
            schema::meta(conn, key)
                .map_err(|error| {
                    found.found(Kind::Meta, Position::START, "", format!("meta `{key}`: {error}"))
                })
                .ok()
        };
        let (epoch, floor, indexed) = (number("epoch"), number("floor"), number("indexed"));
        let last = super::query::last_position(conn);
        let last =
            last.map_err(|error| found.found(Kind::Pages, Position::START, "", error.to_string())).ok()?;
        let floor = Position::from_u64(floor.unwrap_or(last.as_u64()));
        let head = last.max(floor);
        if indexed.is_some_and(|indexed| indexed > head.as_u64()) {
            found.found(Kind::Meta, Position::START, "", "the index is said to be ahead of the log");
        }
        Some(Self { head: last, floor, epoch: epoch.unwrap_or_default() })
    }
}

/// Lets SQLite look at every page: rows on a page that no way leads to would be missed otherwise. It looks whether
/// keys are in order and indexes have what their tables have, too: where they are not, a search misses what a scan
/// finds. That is one moment of the file from the begin to the end.
fn pages(conn: &Connection, file: &str, kind: Kind, found: &mut StoreVerification, report: Report<'_>) {
    if kind == Kind::Pages {
        report(WorkProgress { what: "pages", done: 0, total: 0 });
    }
    let looked = conn.prepare("PRAGMA integrity_check(20)").and_then(|mut statement| {
        statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
    });
    match looked {
        Ok(lines) => {
            for line in lines.iter().filter(|line| *line != "ok") {
                found.found(kind, Position::START, "", format!("{file}: {line}"));
            }
        }
        Err(error) => found.found(kind, Position::START, "", format!("{file}: {error}")),
    }
}
