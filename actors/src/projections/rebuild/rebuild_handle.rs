//! Operators' handle to a rebuild in the running service, and its progress.

use amoiq_events::{Position, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::RebuildError;

/// How many commands wait for a projector.
const QUEUE: usize = 8;

/// Rebuilds a projection of the running service. Cheap to clone.
#[derive(Clone)]
pub struct RebuildHandle {
    projection: &'static str,
    commands: mpsc::Sender<RebuildControl>,
    report: watch::Receiver<RebuildReport>,
}

/// A rebuild is running already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the projection is being rebuilt already")]
pub struct RebuildUnderway;

/// How far the last rebuild has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildReport {
    /// How it ended; `None` while it runs.
    pub outcome: Option<RebuildOutcome>,
    /// Everything up to here is in the new tables.
    pub position: Position,
    /// The end of the log.
    pub head: Position,
    /// How many events it skipped.
    pub skipped: usize,
}

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildOutcome {
    /// There was no rebuild since the service started.
    None,
    /// The new tables serve.
    Done,
    /// An operator ended it.
    Cancelled,
    /// It ended at an event that cannot be read.
    Stopped {
        /// Its position.
        position: Position,
        /// Its dotted type.
        kind: String,
        /// Why.
        reason: String,
    },
    /// It failed for another reason.
    Failed(String),
}

/// What an operator asks a projector.
pub(crate) enum RebuildControl {
    Start { skip: Option<Timestamp>, reply: oneshot::Sender<Result<(), RebuildUnderway>> },
    Cancel { reply: oneshot::Sender<bool> },
}

/// The projector's end of [`RebuildHandle`]'s report.
pub(crate) type RebuildReporter = watch::Sender<RebuildReport>;

impl Default for RebuildReport {
    fn default() -> Self {
        let start = Position::START;
        Self { outcome: Some(RebuildOutcome::None), position: start, head: start, skipped: 0 }
    }
}

impl RebuildReport {
    /// The report of a rebuild that starts.
    #[must_use]
    pub fn started(head: Position) -> Self {
        Self { outcome: None, head, ..Self::default() }
    }

    pub(crate) fn advance(&mut self, position: Position, head: Position, skipped: usize) {
        (self.position, self.head, self.skipped) = (position, head, skipped);
    }
}

impl RebuildOutcome {
    /// The outcome of a rebuild that ended with an error.
    #[must_use]
    pub fn of(error: &RebuildError) -> Self {
        match error {
            RebuildError::Event { position, kind, reason } => {
                Self::Stopped { position: *position, kind: kind.clone(), reason: reason.clone() }
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

impl RebuildHandle {
    pub(crate) fn new(projection: &'static str) -> (Self, mpsc::Receiver<RebuildControl>, RebuildReporter) {
        let (commands, waiting) = mpsc::channel(QUEUE);
        let (reports, report) = watch::channel(RebuildReport::default());
        (Self { projection, commands, report }, waiting, reports)
    }

    /// The projection's name.
    #[must_use]
    pub fn projection(&self) -> &'static str {
        self.projection
    }

    /// Starts a rebuild. With `skip`, the time to note, events that cannot be read are skipped.
    ///
    /// # Errors
    /// When one is running, also one that the projector started itself.
    pub async fn start(&self, skip: Option<Timestamp>) -> Result<(), RebuildUnderway> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(RebuildControl::Start { skip, reply }).await;
        // The projector is gone only when the service is stopping.
        sent.map_err(|_gone| RebuildUnderway)?;
        answer.await.unwrap_or(Err(RebuildUnderway))
    }

    /// Cancels the rebuild that runs; the old tables continue to serve. Returns whether one ran.
    pub async fn cancel(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.commands.send(RebuildControl::Cancel { reply }).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// How far the last one has come.
    #[must_use]
    pub fn report(&self) -> RebuildReport {
        self.report.borrow().clone()
    }
}
