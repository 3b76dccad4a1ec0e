//! The events that projections skip because an operator said so: they cannot be read, and a projection would stop at
//! each of them.
//!
//! The list is a file of its own, `dead-letters.json`. In `views.db` it would be lost with every damage of that file, and
//! the projection would stop at the same events again. Events are listed by id, so a letter is valid in every history
//! with the event, and it is removed when the event is erased. The file is replaced as a whole.

use std::{collections::HashSet, fs, io, path::Path, sync::Arc};

use amoiq_events::{EventLog, Position, RecordedEvent, Timestamp, durable_file};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::{database::DatabaseError, projections::view_error::ViewError};

/// The most letters of all projections. An operator who needs more runs an old release on a newer log.
pub(super) const MAX_LETTERS: usize = 1_000;

/// The file's name, beside `views.db`.
pub(super) const FILE: &str = "dead-letters.json";

/// An event that a projection skips.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The projection.
    pub projection: String,
    /// The event's position.
    pub position: u64,
    /// The event's id.
    pub event: String,
    /// Its dotted type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Why it cannot be read.
    pub reason: String,
    /// When an operator had it skipped.
    pub skipped_at: String,
}

/// The list. Clones share it.
#[derive(Clone)]
pub struct DeadLetters {
    path: Arc<Path>,
    /// Read with every batch that is folded, written when an operator skips an event.
    list: Arc<RwLock<Vec<DeadLetter>>>,
}

/// The ids of the events that a projection skips.
pub(crate) struct SkippedEvents(HashSet<String>);

impl DeadLetter {
    pub(crate) fn of(
        projection: &str,
        recorded: &RecordedEvent,
        reason: &dyn std::fmt::Display,
        now: Timestamp,
    ) -> Self {
        Self {
            projection: projection.to_owned(),
            position: recorded.position.as_u64(),
            event: recorded.event.id.to_string(),
            kind: recorded.event.kind.to_string(),
            reason: reason.to_string(),
            skipped_at: now.to_string(),
        }
    }
}

impl DeadLetters {
    /// The list of a data directory.
    ///
    /// # Errors
    /// When the file exists and is not a list: the projection would stop at events that an operator had skipped.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let list = read(&path)?;
        Ok(Self { path: path.into(), list: Arc::new(RwLock::new(list)) })
    }

    /// All letters, in the order in which they were added.
    #[must_use]
    pub fn all(&self) -> Vec<DeadLetter> {
        self.list.read().clone()
    }

    /// The events that a projection skips.
    pub(crate) fn skipped_by(&self, projection: &str) -> SkippedEvents {
        let list = self.list.read();
        let own = list.iter().filter(|letter| letter.projection == projection);
        SkippedEvents(own.map(|letter| letter.event.clone()).collect())
    }

    /// Adds letters, durably. One that is listed already is not added again.
    pub(crate) fn add(&self, letters: Vec<DeadLetter>) -> io::Result<()> {
        self.change(|all| {
            for letter in letters {
                let is_known =
                    |known: &DeadLetter| known.projection == letter.projection && known.event == letter.event;
                if !all.iter().any(is_known) {
                    all.push(letter);
                }
            }
        })
    }

    /// Removes the letters of events that are gone from the log, durably.
    pub(crate) async fn remove_gone(&self, store: &dyn EventLog) -> Result<(), ViewError> {
        let mut gone = HashSet::new();
        for letter in self.all() {
            let is_there = match store.event_at(Position::from_u64(letter.position)).await {
                Ok(found) => found.is_some_and(|found| found.event.id.to_string() == letter.event),
                // An event that cannot be read exists.
                Err(error) if error.is_damage() => true,
                Err(error) => return Err(error.into()),
            };
            if !is_there {
                gone.insert(letter.event);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let letters = self.clone();
        let changing = move || letters.change(|all| all.retain(|letter| !gone.contains(&letter.event)));
        let changed = tokio::task::spawn_blocking(changing).await;
        Ok(changed.map_err(|_panicked| DatabaseError::Closed)??)
    }

    /// Replaces the list. The lock is held while the file is written: of two changes at a time one would be lost.
    fn change(&self, change: impl FnOnce(&mut Vec<DeadLetter>)) -> io::Result<()> {
        let mut list = self.list.write();
        let mut all = list.clone();
        change(&mut all);
        if all != *list {
            write(&self.path, &all)?;
            *list = all;
        }
        Ok(())
    }
}

impl SkippedEvents {
    /// Whether an event is one of them.
    pub(crate) fn contains(&self, recorded: &RecordedEvent) -> bool {
        !self.0.is_empty() && self.0.contains(&recorded.event.id.to_string())
    }
}

fn read(path: &Path) -> io::Result<Vec<DeadLetter>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            let why =
                format!("{}: {error}: correct it, or delete it to stop at its events again", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, letters: &[DeadLetter]) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(letters)?;
    text.push(b'\n');
    durable_file::replace(path, &text)
}
