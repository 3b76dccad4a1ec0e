//! What a projection is: a fold of the log into tables of its own.

use amoiq_events::RecordedEvent;
use rusqlite::Connection;

use super::{dead_letters::SkippedEvents, view_error::ViewError};

/// A fold of the log into tables. A value of it holds what was folded and is not in the tables yet.
///
/// The same code folds a few events of now and the whole log: only how long the changes are held
/// differs.
pub trait Projection: Default + Send + 'static {
    /// Its name, as operators use it.
    const NAME: &'static str;

    /// Changes with the tables or the fold: the tables are filled again then.
    const VERSION: u32;

    /// Older versions whose tables this release still folds and reads rightly. They serve while new
    /// ones are filled; tables of any other version do not.
    const STILL_SERVES: &'static [u32] = &[];

    /// The names of its tables, without the generation.
    const TABLES: &'static [&'static str];

    /// Makes the tables of a generation, empty.
    ///
    /// # Errors
    /// When the database refuses.
    fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError>;

    /// Folds an event in. What it needs of the tables it reads; it writes nothing. The caller sees to it
    /// that each event comes once.
    ///
    /// # Errors
    /// When the database refuses or the event cannot be read: nothing is folded in then.
    fn fold(&mut self, conn: &Connection, tables: ViewTables, event: &RecordedEvent)
    -> Result<(), ViewError>;

    /// How many changes it holds.
    fn held(&self) -> usize;

    /// Its changes in portions of at most `most`, in the order of the tables' keys.
    fn portions(self, most: usize) -> Vec<Self>;

    /// Writes its changes into the tables.
    ///
    /// # Errors
    /// When the database refuses.
    fn store(&self, conn: &Connection, tables: ViewTables) -> Result<(), ViewError>;
}

/// One generation of a projection's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewTables {
    number: i64,
    version: u32,
}

impl ViewTables {
    /// Those with a number, of a version: for tests that fold by themselves.
    #[must_use]
    pub const fn new(number: i64, version: u32) -> Self {
        Self { number, version }
    }

    /// The name of a table in this generation.
    #[must_use]
    pub fn name(self, table: &str) -> String {
        format!("{table}_{}", self.number)
    }

    /// The version that they were made in.
    #[must_use]
    pub fn version(self) -> u32 {
        self.version
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.number
    }
}

/// Folds events in, those that are passed by left out.
pub(crate) fn fold<'a, P: Projection>(
    projection: &mut P,
    conn: &Connection,
    tables: ViewTables,
    events: impl IntoIterator<Item = &'a RecordedEvent>,
    passed: &SkippedEvents,
) -> Result<(), ViewError> {
    let wanted = events.into_iter().filter(|recorded| !passed.holds(recorded));
    wanted.into_iter().try_for_each(|recorded| projection.fold(conn, tables, recorded))
}
