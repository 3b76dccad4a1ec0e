//! Who is online: a projection that lives in memory and begins empty with every start of the service.
//!
//! It follows the log's subscription from just before this process said that it started, so there is
//! nothing to replay: `node.started` leaves nobody online, and what [`crate::presence`] appends comes
//! after it. A visitor's messages move them to the page that they tell. Reading waits, bounded, until
//! everything up to a position is folded in, and costs what the answer holds, however many are online.
//!
//! An event that this release cannot read is logged and passed: the next `user.online` or a restart
//! mends what was missed, which is better than a list that stands still.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use actix::prelude::*;
use amoiq_events::{
    EventStore, Position, RecordedEvent, SessionId, ShortText, TenantId, Timestamp, UserId, codec,
    store::Subscription,
};

use crate::{
    projector::{Progress, Reporter},
    views::ViewError,
};
use roster::Roster;

mod roster;

/// How long it waits after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Somebody who is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineUser {
    /// Who, as agents see them.
    pub user_id: UserId,
    /// Their newest session.
    pub session_id: SessionId,
    /// Since when.
    pub connected_at: Timestamp,
    /// The site's domain.
    pub domain: Option<ShortText>,
    /// The site's origin.
    pub origin: Option<ShortText>,
    /// The page.
    pub url: Option<ShortText>,
}

/// Who of a tenant's visitors is online.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Online {
    /// Those who came last, the newest first.
    pub users: Vec<OnlineUser>,
    /// How many there are in all.
    pub total: usize,
}

/// The way to ask who is online. Cheap to clone.
#[derive(Clone)]
pub struct OnlineUsers {
    roster: Arc<RwLock<Roster>>,
    progress: Progress,
    /// How long a question waits for the projection to reach the log.
    patience: Duration,
}

impl OnlineUsers {
    /// Starts the projection on the caller's arbiter. `from` is the head of the log as it was before
    /// `node.started` was appended.
    #[must_use]
    pub fn start(store: &Arc<dyn EventStore>, from: Position, patience: Duration) -> Self {
        let (reporter, progress, _nobody_reads_tables) = Progress::new();
        reporter.reached(from);
        let roster = Arc::default();
        let run = Run { roster: Arc::clone(&roster), progress: reporter };
        let subscription = store.subscribe(from);
        Follower::create(|ctx| {
            ctx.spawn(run.follow(subscription).into_actor(&Follower).map(|(), _, ctx| ctx.stop()));
            Follower
        });
        Self { roster, progress, patience }
    }

    /// How far the projection has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How many visitors of all tenants are online.
    #[must_use]
    pub fn total(&self) -> usize {
        read(&self.roster).total()
    }

    /// A tenant's visitors who are online, at most `limit` of them, and how many there are; what was
    /// appended up to `after` is in the answer.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when the projection does not reach `after` in time.
    pub async fn list(&self, tenant: &TenantId, limit: usize, after: Position) -> Result<Online, ViewError> {
        self.progress.reach(after, self.patience).await?;
        Ok(read(&self.roster).newest(tenant, limit))
    }
}

/// The actor that runs the projection.
struct Follower;

impl Actor for Follower {
    type Context = Context<Self>;
}

/// Its work.
struct Run {
    /// Read by whoever asks, written here alone, one event at a time: nobody waits for long.
    roster: Arc<RwLock<Roster>>,
    progress: Reporter,
}

impl Run {
    async fn follow(self, mut subscription: Subscription) {
        loop {
            match subscription.next().await {
                Ok(Some(batch)) => {
                    batch.iter().for_each(|recorded| self.fold(recorded));
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

    fn fold(&self, recorded: &RecordedEvent) {
        // Before it is decoded: most events are messages of visitors who are not online here.
        if !read(&self.roster).concerns(&recorded.stream) {
            return;
        }
        match codec::decode(recorded) {
            Ok(event) => {
                let mut roster = self.roster.write().unwrap_or_else(PoisonError::into_inner);
                roster.apply(&recorded.stream, event);
            }
            Err(error) => {
                tracing::error!(%error, stream = %recorded.stream, "who is online passes an event by");
            }
        }
    }
}

fn read(roster: &RwLock<Roster>) -> RwLockReadGuard<'_, Roster> {
    roster.read().unwrap_or_else(PoisonError::into_inner)
}
