//! An empty log that is filled with the events of another one: the only thing that a backend adds to let logs move in.

use std::{error::Error, sync::Arc};

use crate::{
    Position, RecordedEvent,
    store::{Epoch, EventStore, line::InvalidLine, transfer::work_progress::ProgressCallback},
};

/// Why a log could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillingError {
    /// A line that is no event.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// Why.
        reason: InvalidLine,
    },
    /// A line that does not follow the ones before it.
    #[error("line {line}: {what}")]
    Order {
        /// Counted from 1.
        line: u64,
        /// What does not fit.
        what: String,
    },
    /// An event that does not follow the ones before it.
    #[error("{what}")]
    Misfit {
        /// Which of the events that were added.
        index: usize,
        /// What does not fit.
        what: String,
    },
    /// Nothing was read.
    #[error("there is no event in what was read")]
    NoEvent,
    /// The last line is not the one that says how many there are.
    #[error(
        "no end line after line {line}: the export failed, or its end was lost. Older releases wrote none: import their lines with --without-end"
    )]
    NoEnd {
        /// The last one.
        line: u64,
    },
    /// The backend refused.
    #[error(transparent)]
    Backend(Box<dyn Error + Send + Sync>),
}

impl FillingError {
    /// What a backend says.
    pub(in crate::store) fn of(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Backend(error.into())
    }
}

/// A log that is being filled. No service opens it, also when this process is killed: the next filling from the same log
/// goes on with it, any other starts anew.
pub trait LogFilling {
    /// The last position of the source whose event is here already, from a filling that was interrupted.
    fn reached(&self) -> Position;

    /// The epoch that the log has when it is complete.
    fn epoch(&self) -> Epoch;

    /// Adds the next events of the source, in its order: all or none.
    ///
    /// # Errors
    /// [`FillingError::Misfit`] when an event does not follow those before it; whatever the backend says.
    fn add(&mut self, events: &[RecordedEvent]) -> Result<(), FillingError>;

    /// The log as far as it is filled. It is dropped before the filling ends.
    ///
    /// # Errors
    /// Whatever the backend says.
    fn reader(&mut self) -> Result<Arc<dyn EventStore>, FillingError>;

    /// Lets services open the log.
    ///
    /// # Errors
    /// Whatever the backend says, also when it verifies the log by itself and that fails.
    fn finish(self: Box<Self>, report: ProgressCallback<'_>) -> Result<(), FillingError>;

    /// Removes what was filled in.
    ///
    /// # Errors
    /// Whatever the backend says.
    fn discard(self: Box<Self>) -> Result<(), FillingError>;
}
