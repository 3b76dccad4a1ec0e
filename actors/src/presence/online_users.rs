//! Who is online: a projection in memory that is empty at each start of the service.
//!
//! It is a fold of the log, for visitors who have written, and of [`PresenceSignals`], for all others.
//!
//! It follows the log from just before the `node.started` event of this process, so there is nothing to replay:
//! `node.started` leaves nobody online, and all presence events of this process come after it. A message moves its visitor
//! to the page that it names. A query waits, for a limited time, until everything up to a position is folded; its cost
//! depends on the size of the answer, not on how many visitors are online.
//!
//! An event that this release cannot read is logged and skipped. The next `user.online` or a restart corrects the list,
//! which is better than a list that does not follow the log.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    Event, EventLog, Position, RecordedEvent, TenantId, codec, presence::PresenceEvent,
    session::SessionEvent, stream::StreamKind,
};

use parking_lot::RwLock;

use super::{
    PresenceHandle, online_tables::OnlineTables, presence_signals::PresenceSignals,
    presence_table::OnlineList,
};
use crate::projections::{GatheredLog, ProgressReporter, ProjectionProgress, ViewError};

/// The event that may prove a user.
const IDENTIFIED: &str = "visitor.identified";

/// The first event of a session.
const SESSION_STARTED: &str = "session.started";

/// How long it waits after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What an event of the log is to the staff who are connected to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedNews {
    /// Nothing: the visitor left a node and is still on another, or back and silent.
    Nothing,
    /// What it says, and a signal of this node may have said it before.
    Own,
    /// What it says; no signal of this node did.
    Others,
}

/// Queries of who is online. Cheap to clone.
#[derive(Clone)]
pub struct OnlineUsers {
    table: Arc<RwLock<OnlineTables>>,
    progress: ProjectionProgress,
    /// How long a query waits for the projection to reach the log.
    patience: Duration,
}

impl OnlineUsers {
    /// Starts the projection on the caller's arbiter. `from` is the head of the log before `node.started` was appended.
    /// `presence` is told of users that the log proves.
    #[must_use]
    pub fn start(
        store: &Arc<dyn EventLog>,
        from: Position,
        patience: Duration,
        signals: &PresenceSignals,
        presence: PresenceHandle,
    ) -> Self {
        // There are no tables on disk that could be damaged.
        let (reporter, progress, _damages) = ProjectionProgress::new();
        reporter.reached(from);
        let table = Arc::clone(&signals.table);
        let (table_too, is_shared) = (Arc::clone(&table), store.is_shared());
        let log = GatheredLog::new(store.subscribe(from), reporter.clone());
        let projection = OnlineProjection { table: table_too, progress: reporter, presence, is_shared };
        actix::spawn(projection.follow(log));
        Self { table, progress, patience }
    }

    /// How far the projection has come.
    #[must_use]
    pub fn progress(&self) -> &ProjectionProgress {
        &self.progress
    }

    /// What an event of the log is to staff, once it is folded ([`OnlineUsers::progress`]).
    #[must_use]
    pub fn news(&self, recorded: &RecordedEvent) -> LoggedNews {
        let Some(StreamKind::Presence(tenant)) = recorded.stream.kind() else { return LoggedNews::Own };
        let table = self.table.read();
        match codec::decode(recorded) {
            Ok(Event::Presence(event)) => match (&event, event.node()) {
                (PresenceEvent::Offline(offline), Some(node))
                    if table.is_online_beside(node, &tenant, &offline.user_id) =>
                {
                    LoggedNews::Nothing
                }
                (_, Some(node)) if table.node().is_none_or(|own| **own != *node) => LoggedNews::Others,
                _ => LoggedNews::Own,
            },
            _ => LoggedNews::Own,
        }
    }

    /// Whether a signal still holds when staff are told: the log may have told meanwhile that a visitor is back, or has left.
    #[must_use]
    pub fn still_holds(&self, tenant: &TenantId, event: &PresenceEvent) -> bool {
        let table = self.table.read();
        match event {
            PresenceEvent::Online(online) => table.is_online(tenant, &online.user_id),
            PresenceEvent::Offline(offline) => !table.is_online(tenant, &offline.user_id),
        }
    }

    /// How many visitors of all tenants are online on this node.
    #[must_use]
    pub fn total(&self) -> usize {
        self.table.read().total()
    }

    /// At most `limit` of a tenant's visitors who are online, and how many there are; the answer includes everything that
    /// was appended up to `after`.
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

/// Folds the log into the table.
struct OnlineProjection {
    /// Locked for one event or one query at a time, so nobody waits for long.
    table: Arc<RwLock<OnlineTables>>,
    progress: ProgressReporter,
    presence: PresenceHandle,
    /// Whether visitors who are connected here may write on other nodes.
    is_shared: bool,
}

impl OnlineProjection {
    async fn follow(self, mut log: GatheredLog) {
        loop {
            match log.next().await {
                // The subscription ends when the service stops.
                Ok(parts) if parts.is_empty() => return,
                Ok(parts) => {
                    for part in parts {
                        for recorded in &part.events[..] {
                            self.fold(recorded).await;
                        }
                        self.progress.reached(part.upto);
                    }
                    // A log that always has more must not block the arbiter.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    let error = ViewError::from(error);
                    tracing::error!(%error, "the list of online users waits for the log and tries again");
                    self.progress.failed(&error);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn fold(&self, recorded: &RecordedEvent) {
        if recorded.event.kind == IDENTIFIED {
            return self.fold_identified(recorded).await;
        }
        if self.is_shared && recorded.event.kind == SESSION_STARTED {
            self.fold_started(recorded).await;
        }
        // Checked before decoding: most events are messages of visitors who are not online here.
        if !self.table.read().concerns(&recorded.stream) {
            return;
        }
        match codec::decode(recorded) {
            Ok(event) => self.table.write().apply(&recorded.stream, event),
            Err(error) => {
                tracing::error!(%error, stream = %recorded.stream, "the list of online users skips an event");
            }
        }
    }

    /// A session has its first message, perhaps on another node.
    async fn fold_started(&self, recorded: &RecordedEvent) {
        if let Some(StreamKind::Session(tenant, session)) = recorded.stream.kind() {
            // This fails only when the service is stopping.
            let _stopping = self.presence.wrote(&tenant, session).await;
        }
    }

    /// Visitors who use the name of a proven user without a proof of their own are shown without it.
    async fn fold_identified(&self, recorded: &RecordedEvent) {
        let Some(tenant) = recorded.stream.tenant_id() else { return };
        if let Ok(Event::Session(SessionEvent::VisitorIdentified(identified))) = codec::decode(recorded)
            && let Some(user) = identified.user_id.filter(|_| identified.verified)
        {
            // This fails only when the service is stopping.
            let _stopping = self.presence.proven(&tenant, user).await;
        }
    }
}
