//! How far this node knows the log to be. The log of a server that lacks this much is another one: it was restored, or a
//! failover lost the end. Each append says it, and each new connection asks for it first.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    EventId, Position,
    postgres::{CallFailure, DatabaseSession, Parameter, SchemaName, timing},
    store::{Epoch, postgres::schema::LogState},
};

/// The newest event that this node appended or read.
pub(in crate::store::postgres) struct KnownEnd {
    epoch: Epoch,
    newest: Mutex<(Position, Option<EventId>)>,
    /// The epoch that came after, in which this node knows nothing.
    replaced: watch::Sender<Option<Epoch>>,
    check: Arc<str>,
}

/// The same as values of a call: epoch, position, id.
pub(in crate::store::postgres) type EndValues = (i64, i64, Option<uuid::Uuid>);

impl KnownEnd {
    pub(in crate::store::postgres) fn new(schema: &SchemaName, state: &LogState) -> Self {
        let check = schema.statement("SELECT {schema}.check_history($1, $2, $3)");
        let (newest, replaced) = (Mutex::new((state.head, state.newest)), watch::Sender::new(None));
        Self { epoch: state.epoch, newest, replaced, check }
    }

    /// The history.
    pub(in crate::store::postgres) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest event; without an id when it was removed.
    pub(in crate::store::postgres) fn newest(&self) -> (Position, Option<EventId>) {
        *self.newest.lock()
    }

    /// How far the log is known to be.
    pub(in crate::store::postgres) fn position(&self) -> Position {
        self.newest().0
    }

    /// Notes an event that is in the log.
    pub(in crate::store::postgres) fn reach(&self, position: Position, id: Option<EventId>) {
        let mut newest = self.newest.lock();
        if position > newest.0 {
            *newest = (position, id);
        }
    }

    /// The log goes on in another epoch.
    pub(in crate::store::postgres) fn replace(&self, epoch: Epoch) {
        self.replaced.send_replace(Some(epoch));
    }

    /// The epoch in which the log goes on.
    pub(in crate::store::postgres) fn replaced(&self) -> watch::Receiver<Option<Epoch>> {
        self.replaced.subscribe()
    }

    /// Refuses what is asked of a history that is over.
    pub(in crate::store::postgres) fn check_current(&self) -> Result<(), CallFailure> {
        match *self.replaced.borrow() {
            None => Ok(()),
            Some(epoch) => Err(CallFailure::OtherHistory(format!(
                "the log lost events that this node knows, and goes on in the epoch {epoch}"
            ))),
        }
    }

    /// The values of `check_history`.
    pub(in crate::store::postgres) fn values(&self) -> EndValues {
        let (position, id) = self.newest();
        (self.epoch.0.cast_signed(), position.as_u64().cast_signed(), id.map(EventId::as_uuid))
    }

    /// Asks a server whether its log has this much.
    pub(in crate::store::postgres) async fn check(
        &self,
        session: &mut DatabaseSession,
    ) -> Result<(), CallFailure> {
        self.check_current()?;
        let (epoch, position, id) = self.values();
        let values: [Parameter<'_>; 3] = [&epoch, &position, &id];
        session.query(&self.check, &values, timing::CONNECT).await.map(drop)
    }
}
