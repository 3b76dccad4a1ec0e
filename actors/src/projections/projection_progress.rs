//! How far a projection has come: told by whoever runs it, waited for by whoever reads what it made.

use std::time::Duration;

use amoiq_events::Position;
use tokio::sync::{mpsc, watch};

use crate::projections::view_error::ViewError;

/// How far a projection has come, for readers that wait.
#[derive(Clone)]
pub struct ProjectionProgress {
    standing: watch::Receiver<ProgressState>,
    doubts: mpsc::Sender<ViewDamage>,
}

/// The other end of a [`ProjectionProgress`], in the hands of who runs the projection.
#[derive(Clone)]
pub(crate) struct ProgressReporter(watch::Sender<ProgressState>);

/// What readers met that only a rebuild mends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViewDamage {
    /// A row is not what was written.
    Row,
    /// The file is not what SQLite wrote.
    File,
}

/// Where a projection is, and why it does not go on.
#[derive(Debug, Clone, Default)]
struct ProgressState {
    position: Position,
    /// What the last attempt met; nothing once an attempt succeeds.
    failure: Option<String>,
    /// No tables serve yet.
    is_filling: bool,
}

impl ViewDamage {
    /// What an error says of the tables; nothing when it says nothing.
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
    /// Everything up to here is folded in.
    pub(crate) fn reached(&self, position: Position) {
        self.0.send_replace(ProgressState { position, failure: None, is_filling: false });
    }

    /// These tables serve. Whether they can be kept at it is not known yet.
    pub(crate) fn serves(&self, position: Position) {
        self.0.send_modify(|standing| (standing.position, standing.is_filling) = (position, false));
    }

    /// It does not follow the log, because of this.
    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) {
        self.0.send_modify(|standing| standing.failure = Some(error.to_string()));
    }

    /// New tables were not filled, because of this. With tables that serve that is no trouble to readers.
    pub(crate) fn not_filled(&self, error: &dyn std::fmt::Display) {
        self.0.send_modify(|standing| {
            if standing.is_filling {
                standing.failure = Some(error.to_string());
            }
        });
    }

    /// No tables serve: the first ones are being filled.
    pub(crate) fn filling(&self) {
        self.0.send_modify(|standing| {
            standing.position = Position::START;
            standing.is_filling = true;
        });
    }
}

impl ProjectionProgress {
    /// One that begins before the log, its other end, and where doubts arrive.
    pub(crate) fn new() -> (ProgressReporter, Self, mpsc::Receiver<ViewDamage>) {
        let (reporter, standing) = watch::channel(ProgressState::default());
        // One is enough: the second says the same.
        let (doubts, doubted) = mpsc::channel(1);
        (ProgressReporter(reporter), Self { standing, doubts }, doubted)
    }

    /// Everything up to here is folded in.
    #[must_use]
    pub fn position(&self) -> Position {
        self.standing.borrow().position
    }

    /// Why it does not follow the log at the moment.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.standing.borrow().failure.clone()
    }

    /// Whether no tables serve yet, because the first ones are being filled.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.standing.borrow().is_filling
    }

    /// Waits until everything up to `position` is folded in.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when that takes longer than `patience`.
    pub async fn reach(&self, position: Position, patience: Duration) -> Result<(), ViewError> {
        let mut progress = self.standing.clone();
        let reached = progress.wait_for(|now| now.position >= position && !now.is_filling);
        match tokio::time::timeout(patience, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ViewError::Behind),
        }
    }

    /// Tells the one who runs the projection what a reader met, when only a rebuild mends it.
    pub(crate) fn doubt(&self, error: &ViewError) {
        if let Some(doubt) = ViewDamage::of(error) {
            // One that waits already says the same.
            let _already_said = self.doubts.try_send(doubt);
        }
    }
}
