//! How far a projection has come: reported by its projector, awaited by readers of its tables.

use std::time::Duration;

use amoiq_events::Position;
use tokio::sync::{mpsc, watch};

use crate::projections::view_error::ViewError;

/// How far a projection has come, for readers that wait.
#[derive(Clone)]
pub struct ProjectionProgress {
    state: watch::Receiver<ProgressState>,
    damages: mpsc::Sender<ViewDamage>,
}

/// The projector's end of a [`ProjectionProgress`].
#[derive(Clone)]
pub(crate) struct ProgressReporter(watch::Sender<ProgressState>);

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
    /// Everything up to this position is folded.
    pub(crate) fn reached(&self, position: Position) {
        self.0.send_replace(ProgressState { position, failure: None, is_filling: false });
    }

    /// Tables at this position serve. Whether the next events can be folded is not known yet.
    pub(crate) fn serves(&self, position: Position) {
        self.0.send_modify(|state| (state.position, state.is_filling) = (position, false));
    }

    /// The projection does not follow the log, for this reason.
    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) {
        self.0.send_modify(|state| state.failure = Some(error.to_string()));
    }

    /// New tables were not filled, for this reason. Readers notice only if no tables serve.
    pub(crate) fn not_filled(&self, error: &dyn std::fmt::Display) {
        self.0.send_modify(|state| {
            if state.is_filling {
                state.failure = Some(error.to_string());
            }
        });
    }

    /// No tables serve: the first ones are being filled.
    pub(crate) fn filling(&self) {
        self.0.send_modify(|state| {
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
        (ProgressReporter(reporter), Self { state, damages }, damaged)
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

    /// Waits until everything up to `position` is folded.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when that takes longer than `patience`.
    pub async fn reach(&self, position: Position, patience: Duration) -> Result<(), ViewError> {
        let mut progress = self.state.clone();
        let reached = progress.wait_for(|now| now.position >= position && !now.is_filling);
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
