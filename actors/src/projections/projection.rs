//! A projection: a fold of the log into tables of its own, and how far it has come, which its projector reports and readers
//! of the tables wait for.

use std::time::Duration;

use amoiq_events::{Position, RecordedEvent};
use rusqlite::Connection;
use tokio::sync::{mpsc, watch};

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

/// How far a projection has come, for readers that wait.
#[derive(Clone)]
pub struct ProjectionProgress {
    state: watch::Receiver<ProgressState>,
    /// How many readers wait.
    readers: watch::Sender<usize>,
    damages: mpsc::Sender<ViewDamage>,
}

/// The projector's end of a [`ProjectionProgress`].
#[derive(Clone)]
pub(crate) struct ProgressReporter {
    state: watch::Sender<ProgressState>,
    readers: watch::Receiver<usize>,
}

/// A reader that waits, until this is dropped.
struct WaitingReader<'a>(&'a watch::Sender<usize>);

impl<'a> WaitingReader<'a> {
    fn new(readers: &'a watch::Sender<usize>) -> Self {
        readers.send_modify(|waiting| *waiting += 1);
        Self(readers)
    }
}

impl Drop for WaitingReader<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

/// Damage that a reader found and only a rebuild repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViewDamage {
    /// Of a row. The other rows still serve.
    Row,
    /// Of the file, or of the list of generations.
    File,
}

/// Where a projection is, and why it does not continue.
#[derive(Debug, Clone, Default)]
struct ProgressState {
    position: Position,
    /// Why the last attempt failed; `None` after one that succeeded.
    failure: Option<String>,
    /// No tables serve yet.
    is_filling: bool,
}

impl ViewDamage {
    /// The damage that an error reports, if any.
    pub(crate) fn of(error: &ViewError) -> Option<Self> {
        match error {
            ViewError::Damaged(_) => Some(Self::Row),
            ViewError::Catalogue => Some(Self::File),
            ViewError::Database(error) if error.is_damage() => Some(Self::File),
            _ => None,
        }
    }
}

impl ProgressReporter {
    /// Ends as soon as a reader waits for the end of the log.
    pub(crate) async fn reader_waits(&self) {
        let mut readers = self.readers.clone();
        if readers.wait_for(|waiting| *waiting > 0).await.is_err() {
            // Nobody is left who could read.
            std::future::pending().await
        }
    }

    /// Everything up to this position is folded.
    pub(crate) fn reached(&self, position: Position) {
        self.state.send_replace(ProgressState { position, failure: None, is_filling: false });
    }

    /// Tables at this position serve. Whether the next events can be folded is not known yet.
    pub(crate) fn serves(&self, position: Position) {
        self.state.send_modify(|state| (state.position, state.is_filling) = (position, false));
    }

    /// The projection does not follow the log, for this reason.
    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) {
        self.state.send_modify(|state| state.failure = Some(error.to_string()));
    }

    /// New tables were not filled, for this reason. Readers notice only if no tables serve.
    pub(crate) fn not_filled(&self, error: &dyn std::fmt::Display) {
        self.state.send_modify(|state| {
            if state.is_filling {
                state.failure = Some(error.to_string());
            }
        });
    }

    /// No tables serve: the first ones are being filled.
    pub(crate) fn filling(&self) {
        self.state.send_modify(|state| {
            state.position = Position::START;
            state.is_filling = true;
        });
    }
}

impl ProjectionProgress {
    /// A progress at the start of the log, the projector's end of it, and the channel where damage is reported.
    pub(crate) fn new() -> (ProgressReporter, Self, mpsc::Receiver<ViewDamage>) {
        let (reporter, state) = watch::channel(ProgressState::default());
        // One is enough: the second says the same.
        let (damages, damaged) = mpsc::channel(1);
        let (readers, waiting) = watch::channel(0);
        (ProgressReporter { state: reporter, readers: waiting }, Self { state, readers, damages }, damaged)
    }

    /// Everything up to this position is folded.
    #[must_use]
    pub fn position(&self) -> Position {
        self.state.borrow().position
    }

    /// Why it does not follow the log at the moment.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state.borrow().failure.clone()
    }

    /// Whether no tables serve yet, because the first ones are being filled.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.state.borrow().is_filling
    }

    /// Waits until everything up to `position` is folded. Meanwhile the projection folds what comes without gathering it.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when that takes longer than `patience`.
    pub async fn reach(&self, position: Position, patience: Duration) -> Result<(), ViewError> {
        let is_reached = |now: &ProgressState| now.position >= position && !now.is_filling;
        if is_reached(&self.state.borrow()) {
            return Ok(());
        }
        let _waits = WaitingReader::new(&self.readers);
        let mut progress = self.state.clone();
        let reached = progress.wait_for(is_reached);
        match tokio::time::timeout(patience, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ViewError::Behind),
        }
    }

    /// Reports damage that a reader found to the projector. Other errors are not damage.
    pub(crate) fn report_damage(&self, error: &ViewError) {
        if let Some(damage) = ViewDamage::of(error) {
            // A report that waits already says the same.
            let _already_reported = self.damages.try_send(damage);
        }
    }
}
