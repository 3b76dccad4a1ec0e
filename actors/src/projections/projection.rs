//! What a projection is: a fold of the log into tables of its own.

use amoiq_events::RecordedEvent;
use rusqlite::Connection;

use super::{dead_letters::SkippedEvents, view_error::ViewError};

/// A fold of the log into tables. A value holds the changes that are not in the tables yet.
///
/// The same code folds new events and the whole log. Only how long the changes are held differs.
pub trait Projection: Default + Send + 'static {
    /// The name that operators use.
    const NAME: &'static str;

    /// Grows when the tables or the fold change. The next start then fills new tables.
    const VERSION: u32;

    /// Older versions whose tables this release still folds and reads correctly. They serve while new ones are filled;
    /// tables of any other version do not.
    const STILL_SERVES: &'static [u32] = &[];

    /// The names of its tables, without the generation.
    const TABLES: &'static [&'static str];

    /// Creates the tables of a generation, empty.
    ///
    /// # Errors
    /// When the database refuses.
    fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError>;

    /// Folds an event. It may read the tables but not write. The caller passes each event once.
    ///
    /// # Errors
    /// When the database refuses or the event cannot be read. Nothing is folded then.
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
    /// Tables with a number and a version.
    #[must_use]
    pub const fn new(number: i64, version: u32) -> Self {
        Self { number, version }
    }

    /// The name of a table in this generation.
    #[must_use]
    pub fn name(self, table: &str) -> String {
        format!("{table}_{}", self.number)
    }

    /// The projection's version that created them.
    #[must_use]
    pub fn version(self) -> u32 {
        self.version
    }

    /// The generation's number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.number
    }
}

/// Folds events, except the skipped ones.
pub(crate) fn fold<'a, P: Projection>(
    projection: &mut P,
    conn: &Connection,
    tables: ViewTables,
    events: impl IntoIterator<Item = &'a RecordedEvent>,
    skipped: &SkippedEvents,
) -> Result<(), ViewError> {
    let wanted = events.into_iter().filter(|recorded| !skipped.contains(recorded));
    wanted.into_iter().try_for_each(|recorded| projection.fold(conn, tables, recorded))
}
