//! What a node changed in the log, for whoever tells it on.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    RecordedEvent,
    store::{AppendError, AppendReceipt},
};

/// What this node changed in the log.
pub(in crate::store::postgres) enum LogChange {
    Appended(DecidedGroup),
    /// Events were removed, by whoever waits for this.
    Removed(oneshot::Sender<Result<(), AppendError>>),
}

/// The answers to a call.
pub(in crate::store::postgres) struct DecidedGroup {
    pub(in crate::store::postgres) appends: Vec<DecidedAppend>,
    /// What was appended: neighbours in the log.
    pub(in crate::store::postgres) events: Arc<[RecordedEvent]>,
}

/// An append that is decided.
pub(in crate::store::postgres) struct DecidedAppend {
    pub(in crate::store::postgres) answer: Result<AppendReceipt, AppendError>,
    pub(in crate::store::postgres) reply: oneshot::Sender<Result<AppendReceipt, AppendError>>,
}
