//! Erases sessions: what a person wrote and what is known about them, from everything that is stored.
//!
//! One actor does it, one order at a time; operators and [`crate::retention`] send it orders. For each session, the
//! session's own actor records `session.erased` and deletes the stream, without a gap in between
//! ([`SessionDirectory::erase`]). Then everything derived from it is removed: presence, the inbox (which folds the event),
//! and waiting deliveries of webhooks. For a person it also scrubs the files: no free page and no write-ahead log keeps a
//! copy.
//!
//! A stop at any time leaves nothing undone: [`finish_erasures`] deletes what the log records as erased before the service
//! answers requests, and orders stay in a file until all of their work is done. The next start, or the actor itself after
//! a failure, repeats them. A part that fails does not prevent the erasure from the others. Copies that were made before
//! are out of reach: older backups, and what webhooks have delivered.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    EventStore, SessionId, TenantId, Timestamp, UserId,
    event::EventCause,
    store::{AppendError, ReadError},
};

use crate::{
    inbox::{IdentityProof, InboxView},
    presence::PresenceHandle,
    projections::ViewError,
    sessions::{ProvenUsers, SessionDirectory, SessionError},
    webhooks::{LaneError, WebhooksHandle},
};

use erasure_follower::ErasureFollower;
use erasure_orders::ErasureOrder;

pub use unfinished_erasures::finish_erasures;

mod erasure_follower;
mod erasure_orders;
mod erasure_work;
mod presence_erasure;
mod unfinished_erasures;

/// How many orders wait.
const MAILBOX: usize = 16;

/// How long it waits before it repeats what failed.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The actor of the events of [`crate::retention`], which removes what is old, not a person.
pub(crate) const RETENTION_ACTOR: &str = "service:retention";

/// Why something was not erased, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A session was not erased.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The inbox did not follow, or was not scrubbed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Deliveries were not removed.
    #[error(transparent)]
    Webhooks(LaneError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log cannot be written.
    #[error(transparent)]
    Store(#[from] AppendError),
    /// The file of unfinished orders.
    #[error("the file `erasing` in the data directory: {0}")]
    OrdersFile(#[from] std::io::Error),
    /// A backup or export that is being made may contain it.
    #[error("a backup or an export is being made, and may hold what is erased")]
    CopyUnderway,
    /// The file that records whether a copy is being made.
    #[error("log.witness: {0}")]
    Witness(std::io::Error),
    /// A part did not answer in time.
    #[error("a part of the service did not answer in time")]
    Late,
    /// The actor ended: the service is stopping.
    #[error("the service is stopping")]
    Gone,
}

impl From<LaneError> for EraseError {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Late => Self::Late,
            error => Self::Webhooks(error),
        }
    }
}

/// Everything from which a session is erased.
#[derive(Clone)]
pub struct ErasureTargets {
    /// The sessions' actors.
    pub directory: SessionDirectory,
    /// The read model of sessions.
    pub inbox: InboxView,
    /// The users that a secret key vouched for.
    pub proven: ProvenUsers,
    /// The presence of visitors.
    pub presence: PresenceHandle,
    /// The deliveries of webhooks.
    pub webhooks: WebhooksHandle,
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// The data directory; `None` when there are no files.
    pub data: Option<PathBuf>,
}

/// Erases sessions. Cheap to clone.
#[derive(Clone)]
pub struct EraserHandle {
    actor: Addr<EraserActor>,
    targets: Arc<ErasureTargets>,
}

impl EraserHandle {
    /// Starts the actor on the caller's arbiter. It first finishes the orders of an earlier process.
    #[must_use]
    pub fn start(targets: ErasureTargets) -> Self {
        let targets = Arc::new(targets);
        ErasureFollower::start(&targets);
        let actor = EraserActor { targets: Arc::clone(&targets), is_unfinished: true };
        let actor = EraserActor::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            actor
        });
        Self { actor, targets }
    }

    /// The log that it erases from.
    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.targets.store
    }

    /// The sessions of a user, proven or claimed; at most the newest 1,000.
    ///
    /// # Errors
    /// When the inbox does not answer.
    pub async fn sessions_of(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<SessionId>, EraseError> {
        let head = self.targets.store.current_head().await?;
        let found =
            self.targets.inbox.sessions_of(tenant.clone(), user.clone(), IdentityProof::Disputed, head);
        Ok(found.await?.into_iter().map(|entry| entry.session).collect())
    }

    /// Erases these sessions, and the presence of a user. Returns the sessions that existed.
    ///
    /// # Errors
    /// An [`EraseError`]. The actor repeats what is not done yet.
    pub async fn erase(
        &self,
        tenant: TenantId,
        sessions: Vec<SessionId>,
        user: Option<UserId>,
        cause: EventCause,
    ) -> Result<Vec<SessionId>, EraseError> {
        let until = self.targets.store.current_head().await?;
        let order = ErasureOrder { tenant, sessions, user, until, cause };
        self.actor.send(EraseSessions(order)).await.unwrap_or(Err(EraseError::Gone))
    }

    /// Erases those of the sessions whose conversation was closed before a time, without scrubbing the files. Also returns
    /// the sessions that it did not try because too many others failed; they are fewer than `sessions`.
    pub(crate) async fn expire(
        &self,
        tenant: TenantId,
        sessions: Vec<SessionId>,
        closed_before: Timestamp,
        cause: EventCause,
    ) -> (Vec<SessionId>, Result<(), EraseError>) {
        let expired = self.actor.send(ExpireSessions { tenant, sessions, closed_before, cause }).await;
        expired.unwrap_or((Vec::new(), Err(EraseError::Gone)))
    }
}

/// An order. The answer is the sessions that existed.
#[derive(Message)]
#[rtype(result = "Result<Vec<SessionId>, EraseError>")]
struct EraseSessions(ErasureOrder);

/// Old sessions. The answer is those that were not tried, and the first failure.
#[derive(Message)]
#[rtype(result = "(Vec<SessionId>, Result<(), EraseError>)")]
struct ExpireSessions {
    tenant: TenantId,
    sessions: Vec<SessionId>,
    closed_before: Timestamp,
    cause: EventCause,
}

struct EraserActor {
    targets: Arc<ErasureTargets>,
    /// There may be unfinished orders.
    is_unfinished: bool,
}

impl Actor for EraserActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        resume(self, ctx);
        ctx.run_interval(RETRY_EVERY, resume);
    }
}

/// Repeats unfinished orders.
fn resume(actor: &mut EraserActor, ctx: &mut Context<EraserActor>) {
    if !actor.is_unfinished {
        return;
    }
    let targets = Arc::clone(&actor.targets);
    let work = async move { targets.resume().await };
    ctx.wait(work.into_actor(actor).map(|resumed, actor, _| match resumed {
        Ok(()) => actor.is_unfinished = false,
        Err(error) => tracing::warn!(%error, "an erasure is not complete; trying again"),
    }));
}

impl Handler<EraseSessions> for EraserActor {
    type Result = AtomicResponse<Self, Result<Vec<SessionId>, EraseError>>;

    fn handle(&mut self, EraseSessions(order): EraseSessions, _: &mut Self::Context) -> Self::Result {
        let targets = Arc::clone(&self.targets);
        let work = async move { targets.erase(order).await };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|erased, actor, _| {
            actor.is_unfinished |= erased.is_err();
            erased
        })))
    }
}

impl Handler<ExpireSessions> for EraserActor {
    type Result = AtomicResponse<Self, (Vec<SessionId>, Result<(), EraseError>)>;

    fn handle(
        &mut self,
        ExpireSessions { tenant, sessions, closed_before, cause }: ExpireSessions,
        _: &mut Self::Context,
    ) -> Self::Result {
        let targets = Arc::clone(&self.targets);
        let work = async move { targets.expire(&tenant, sessions, closed_before, &cause).await };
        AtomicResponse::new(Box::pin(work.into_actor(self)))
    }
}
