//! What operators ask of rebuilds while the service runs, and what they are told.

use amoiq_events::{Position, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::RebuildError;

/// How many orders wait for a projection.
const QUEUE: usize = 8;

/// The way to have a projection made again. Cheap to clone.
#[derive(Clone)]
pub struct RebuildHandle {
    projection: &'static str,
    orders: mpsc::Sender<RebuildCommand>,
    report: watch::Receiver<RebuildReport>,
}

/// One is under way already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the projection is being rebuilt already")]
pub struct RebuildUnderway;

/// How far the last rebuild of a projection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildReport {
    /// How it ended; nothing while it runs.
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
    /// There was none since the service started.
    None,
    /// The new tables serve.
    Done,
    /// An operator ended it.
    Cancelled,
    /// At an event that cannot be read.
    Stopped {
        /// Where.
        position: Position,
        /// The dotted type.
        kind: String,
        /// Why.
        reason: String,
    },
    /// Otherwise.
    Failed(String),
}

/// What an operator asks for.
pub(crate) enum RebuildCommand {
    Start { skip: Option<Timestamp>, reply: oneshot::Sender<Result<(), RebuildUnderway>> },
    Cancel { reply: oneshot::Sender<bool> },
}

/// The other end of [`RebuildHandle`].
pub(crate) type RebuildReporter = watch::Sender<RebuildReport>;

impl Default for RebuildReport {
    fn default() -> Self {
        let nowhere = Position::START;
        Self { outcome: Some(RebuildOutcome::None), position: nowhere, head: nowhere, skipped: 0 }
    }
}

impl RebuildReport {
    /// One of a rebuild that begins.
    #[must_use]
    pub fn begun(head: Position) -> Self {
        Self { outcome: None, head, ..Self::default() }
    }

    pub(crate) fn advance(&mut self, position: Position, head: Position, skipped: usize) {
        (self.position, self.head, self.skipped) = (position, head, skipped);
    }
}

impl RebuildOutcome {
    /// What an error means.
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
    pub(crate) fn new(projection: &'static str) -> (Self, mpsc::Receiver<RebuildCommand>, RebuildReporter) {
        let (orders, waiting) = mpsc::channel(QUEUE);
        let (reports, report) = watch::channel(RebuildReport::default());
        (Self { projection, orders, report }, waiting, reports)
    }

    /// The projection's name.
    #[must_use]
    pub fn projection(&self) -> &'static str {
        self.projection
    }

    /// Begins to make the projection again. With a time to note, events that cannot be read are skipped.
    ///
    /// # Errors
    /// When one is under way, also one that began by itself.
    pub async fn start(&self, skip: Option<Timestamp>) -> Result<(), RebuildUnderway> {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send(RebuildCommand::Start { skip, reply }).await;
        // A projector that is gone is a service that stops.
        sent.map_err(|_gone| RebuildUnderway)?;
        answer.await.unwrap_or(Err(RebuildUnderway))
    }

    /// Ends the one that runs; the old tables serve on. Says whether one ran.
    pub async fn cancel(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.orders.send(RebuildCommand::Cancel { reply }).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// How far the last one has come.
    #[must_use]
    pub fn report(&self) -> RebuildReport {
        self.report.borrow().clone()
    }
}
