//! The result of verifying a store: how much was read, and what does not fit.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::{Serialize, Serializer};

use crate::Position;

/// The most problems that are listed; all are counted.
const LISTED: usize = 100;

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefectKind {
    /// SQLite's pages do not form a database.
    Pages,
    /// A row is not what was written.
    Checksum,
    /// Positions that were given out are missing.
    Missing,
    /// The log ends before the position that an earlier run reached.
    End,
    /// An event and the one before it in its stream do not belong together.
    Link,
    /// Stream, type, id, time or author are invalid.
    Envelope,
    /// This release cannot read the data.
    Codec,
    /// `streams` does not say where a stream begins or ends.
    Head,
    /// `marks` names another event.
    Mark,
    /// What the store records about itself.
    Meta,
    /// `log.witness`
    Witness,
    /// A database beside the log.
    Companion {
        /// Whether backups contain it. The first field, so that reports list `views` before `outbox`.
        is_backed_up: bool,
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
    /// Its kind.
    pub kind: DefectKind,
    /// Its position; 0 if it is not about an event.
    pub position: Position,
    /// Its stream, as far as that can be read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// What does not fit. It contains no text of a message.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

/// What was read, and what did not fit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StoreVerification {
    /// Whether everything fits.
    pub clean: bool,
    /// The epoch of the log.
    pub epoch: String,
    /// Events after this position were read.
    pub from: Position,
    /// Events up to this position were read: a later run can start here.
    pub verified_to: Position,
    /// How many events were read.
    pub events: u64,
    /// How many streams there are: those of the index, which were compared, and those that a running service has not written
    /// there yet.
    pub streams: u64,
    /// The first problems.
    pub problems: Vec<StoreDefect>,
    /// How many problems there are of each kind.
    pub counts: BTreeMap<DefectKind, u64>,
    /// What was not checked, and what is unusual although it fits.
    pub notes: Vec<String>,
}

impl StoreVerification {
    pub(in crate::store::sqlite) fn defect(
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

    /// What was read later, with the problems that were found before it.
    pub(in crate::store::sqlite) fn followed_by(self, later: Self) -> Self {
        let mut problems = self.problems;
        let room = LISTED.saturating_sub(problems.len());
        problems.extend(later.problems.into_iter().take(room));
        let mut counts = later.counts;
        for (kind, count) in self.counts {
            *counts.entry(kind).or_default() += count;
        }
        Self { problems, counts, ..later }
    }

    pub(in crate::store::sqlite) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Has SQLite check every page: rows on an unreachable page would be missed otherwise. It also checks whether keys are
    /// in order and indexes match their tables: if not, a search misses what a scan finds. It sees the file as it is at one
    /// moment.
    pub(in crate::store::sqlite) fn check_pages(&mut self, conn: &Connection, file: &str, kind: DefectKind) {
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

    /// Whether the store can be copied as it is. An event that this release cannot decode is still what was written, in any
    /// copy too.
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
