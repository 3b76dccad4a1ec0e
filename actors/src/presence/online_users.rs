//! Who is online: a projection that lives in memory and begins empty with every start of the service.
//!
//! It is the fold of the log and of [`PresenceSignals`]: visitors who have written are in the log, all others are told in
//! memory. Everything that is true of the list is in one of the two.
//!
//! It follows the log's subscription from just before this process said that it started, so there is
//! nothing to replay: `node.started` leaves nobody online, and what [`crate::presence`] appends comes
//! after it. A visitor's messages move them to the page that they tell. Reading waits, bounded, until
//! everything up to a position is folded in, and costs what the answer holds, however many are online.
//!
//! An event that this release cannot read is logged and passed: the next `user.online` or a restart
//! mends what was missed, which is better than a list that stands still.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    Event, EventStore, Position, RecordedEvent, TenantId, codec, session::SessionEvent,
    store::LogSubscription,
};

use parking_lot::RwLock;

use super::{
    PresenceHandle,
    presence_signals::PresenceSignals,
    presence_table::{OnlineList, PresenceTable},
};
use crate::projections::{ProgressReporter, ProjectionProgress, ViewError};

/// The event that may be a proof.
const IDENTIFIED: &str = "visitor.identified";

/// How long it waits after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The way to ask who is online. Cheap to clone.
#[derive(Clone)]
pub struct OnlineUsers {
    table: Arc<RwLock<PresenceTable>>,
    progress: ProjectionProgress,
    /// How long a question waits for the projection to reach the log.
    patience: Duration,
}

impl OnlineUsers {
    /// Starts the projection on the caller's arbiter. `from` is the head of the log as it was before
    /// `node.started` was appended. `presence` hears whom the log proves.
    #[must_use]
    pub fn start(
        store: &Arc<dyn EventStore>,
        from: Position,
        patience: Duration,
        signals: &PresenceSignals,
        presence: PresenceHandle,
    ) -> Self {
        let (reporter, progress, _nobody_reads_tables) = ProjectionProgress::new();
        reporter.reached(from);
        let table = Arc::clone(&signals.table);
        let run = OnlineProjection { table: Arc::clone(&table), progress: reporter, presence };
        let subscription = store.subscribe(from);
        OnlineFollower::create(|ctx| {
            ctx.spawn(run.follow(subscription).into_actor(&OnlineFollower).map(|(), _, ctx| ctx.stop()));
            OnlineFollower
        });
        Self { table, progress, patience }
    }

    /// How far the projection has come.
    #[must_use]
    pub fn progress(&self) -> &ProjectionProgress {
        &self.progress
    }

    /// How many visitors of all tenants are online.
    #[must_use]
    pub fn total(&self) -> usize {
        self.table.read().total()
    }

    /// A tenant's visitors who are online, at most `limit` of them, and how many there are; what was
    /// appended up to `after` is in the answer.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when the projection does not reach `after` in time.
    pub async fn list(
        &self,
        tenant: &TenantId,
        limit: usize,
        after: Position,
    ) -> Result<OnlineList, ViewError> {
        self.progress.reach(after, self.patience).await?;
        Ok(self.table.read().newest(tenant, limit))
    }
}

/// The actor that runs the projection.
struct OnlineFollower;

impl Actor for OnlineFollower {
    type Context = Context<Self>;
}

/// Its work.
struct OnlineProjection {
    /// Read by whoever asks, written here alone, one event at a time: nobody waits for long.
    table: Arc<RwLock<PresenceTable>>,
    progress: ProgressReporter,
    presence: PresenceHandle,
}

impl OnlineProjection {
    async fn follow(self, mut subscription: LogSubscription) {
        loop {
            match subscription.next().await {
                Ok(Some(batch)) => {
                    for recorded in &batch[..] {
                        self.fold(recorded).await;
                    }
                    self.progress.reached(subscription.position());
                    // A log that always has more must not keep others from the arbiter.
                    tokio::task::yield_now().await;
                }
                // The log's end is the service stopping.
                Ok(None) => return,
                Err(error) => {
                    let error = ViewError::from(error);
                    tracing::error!(%error, "who is online waits for the log and tries again");
                    self.progress.failed(&error);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn fold(&self, recorded: &RecordedEvent) {
        if recorded.event.kind == IDENTIFIED {
            return self.identified(recorded).await;
        }
        // Before it is decoded: most events are messages of visitors who are not online here.
        if !self.table.read().concerns(&recorded.stream) {
            return;
        }
        match codec::decode(recorded) {
            Ok(event) => {
                self.table.write().apply(&recorded.stream, event);
            }
            Err(error) => {
                tracing::error!(%error, stream = %recorded.stream, "who is online passes an event by");
            }
        }
    }

    /// Whoever goes by the name of somebody for whom a secret key vouched goes by it no longer.
    async fn identified(&self, recorded: &RecordedEvent) {
        let Some(tenant) = recorded.stream.tenant_id() else { return };
        if let Ok(Event::Session(SessionEvent::VisitorIdentified(told))) = codec::decode(recorded)
            && let Some(user) = told.user_id.filter(|_| told.verified)
        {
            // Gone only when the service stops.
            let _stopping = self.presence.proven(&tenant, user).await;
        }
    }
}
