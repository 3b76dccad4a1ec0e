//! How far this node knows the log to be. The log of a server that lacks this much is another one: it was restored, or a
//! failover lost the end. Each append says it, and each new connection asks for it first.

use std::sync::Arc;

use parking_lot::Mutex;

use super::schema::LogState;
use crate::{
    EventId, Position,
    postgres::{CallFailure, DatabaseSession, Parameter, SchemaName, timing},
    store::Epoch,
};

/// The newest event that this node appended or read.
pub(super) struct KnownEnd {
    epoch: Epoch,
    newest: Mutex<(Position, Option<EventId>)>,
    check: Arc<str>,
}

/// The same as values of a call: epoch, position, id.
pub(super) type EndValues = (i64, i64, Option<uuid::Uuid>);

impl KnownEnd {
    pub(super) fn new(schema: &SchemaName, state: &LogState) -> Self {
        let check = schema.statement("SELECT {schema}.check_history($1, $2, $3)");
        Self { epoch: state.epoch, newest: Mutex::new((state.head, state.newest)), check }
    }

    /// The history.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How far the log is known to be.
    pub(super) fn position(&self) -> Position {
        self.newest.lock().0
    }

    /// Notes an event that is in the log.
    pub(super) fn reach(&self, position: Position, id: Option<EventId>) {
        let mut newest = self.newest.lock();
        if position > newest.0 {
            *newest = (position, id);
        }
    }

    /// The values of `check_history`.
    pub(super) fn values(&self) -> EndValues {
        let (position, id) = *self.newest.lock();
        (self.epoch.0.cast_signed(), position.as_u64().cast_signed(), id.map(EventId::as_uuid))
    }

    /// Asks a server whether its log has this much.
    pub(super) async fn check(&self, session: &mut DatabaseSession) -> Result<(), CallFailure> {
        let (epoch, position, id) = self.values();
        let values: [Parameter<'_>; 3] = [&epoch, &position, &id];
        session.query(&self.check, &values, timing::CONNECT).await.map(drop)
    }
}
