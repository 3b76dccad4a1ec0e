//! Erases sessions: what a person wrote and what is known of them, from everything that is kept.
//!
//! One actor does it, one order at a time; the service starts it, and operators and [`crate::retention`] ask
//! it. For each session its own actor notes `session.erased` and deletes the stream, in one go
//! ([`SessionDirectory::erase`]). Then what hangs on it goes: presence, the inbox (which folds the event), what waits
//! for webhooks. For a person it also sees to the files: no free page and no write-ahead log holds a byte.
//!
//! A stop at any moment is made good: [`finish_erasures`] deletes what was said to be erased, before anybody is served,
//! and the orders themselves stand in a file until all of it is done: whoever starts next, and whoever failed,
//! does them again. One part that fails keeps no other from being erased. Copies that were made before are out
//! of reach: older backups, and what webhooks have delivered.

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

use erasure_orders::ErasureOrder;

pub use unfinished_erasures::finish_erasures;

mod erasure_orders;
mod erasure_work;
mod presence_erasure;
mod unfinished_erasures;

/// How many orders wait.
const MAILBOX: usize = 16;

/// How long it waits before it does again what failed.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// Why something was not erased, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A session's actor.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The inbox.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Webhooks.
    #[error(transparent)]
    Webhooks(LaneError),
    /// The log does not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not write.
    #[error(transparent)]
    Store(#[from] AppendError),
    /// The file that says that an erasure is underway.
    #[error("the file `erasing` in the data directory: {0}")]
    Marker(#[from] std::io::Error),
    /// A backup that is not there yet may hold it.
    #[error("a backup or an export is being made, and may hold what is erased")]
    Copied,
    /// The file that says so.
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

/// What an erasure works on.
#[derive(Clone)]
pub struct ErasureTargets {
    /// The way to sessions.
    pub directory: SessionDirectory,
    /// The read model of sessions.
    pub inbox: InboxView,
    /// Who was vouched for.
    pub proven: ProvenUsers,
    /// What counts who is online.
    pub presence: PresenceHandle,
    /// What delivers to endpoints.
    pub webhooks: WebhooksHandle,
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// The data directory; nothing where there are no files.
    pub data: Option<PathBuf>,
}

/// The way to the actor. Cheap to clone.
#[derive(Clone)]
pub struct EraserHandle {
    actor: Addr<EraserActor>,
    premises: Arc<ErasureTargets>,
}

impl EraserHandle {
    /// Starts it on the caller's arbiter. What an earlier process left half done is done then.
    #[must_use]
    pub fn start(premises: ErasureTargets) -> Self {
        let premises = Arc::new(premises);
        let desk = Arc::clone(&premises);
        let actor = EraserActor::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            EraserActor { premises: desk, is_unfinished: true }
        });
        Self { actor, premises }
    }

    /// Every session that a user was in, by proof or by their own word; the newest 1,000.
    ///
    /// # Errors
    /// When the inbox does not answer.
    pub async fn sessions_of(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<SessionId>, EraseError> {
        let head = self.premises.store.head();
        let found =
            self.premises.inbox.sessions_of(tenant.clone(), user.clone(), IdentityProof::Disputed, head);
        Ok(found.await?.into_iter().map(|entry| entry.session).collect())
    }

    /// Erases these sessions, and for a user what presence says of them. The answer is what there was.
    ///
    /// # Errors
    /// An [`EraseError`]: what is not done yet is tried again, by itself.
    pub async fn erase(
        &self,
        tenant: TenantId,
        sessions: Vec<SessionId>,
        user: Option<UserId>,
        cause: EventCause,
    ) -> Result<Vec<SessionId>, EraseError> {
        let order = ErasureOrder { tenant, sessions, user, until: self.premises.store.head(), cause };
        self.actor.send(EraseSessions(order)).await.unwrap_or(Err(EraseError::Gone))
    }

    /// Erases those of the sessions whose conversation was closed before a time. The files are not seen to. With
    /// the answer come those that it did not come to, because too many others could not be erased: fewer than
    /// there were.
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

/// An order, and the answer what there was.
#[derive(Message)]
#[rtype(result = "Result<Vec<SessionId>, EraseError>")]
struct EraseSessions(ErasureOrder);

/// Sessions that are old, and the answer which of them it did not come to.
#[derive(Message)]
#[rtype(result = "(Vec<SessionId>, Result<(), EraseError>)")]
struct ExpireSessions {
    tenant: TenantId,
    sessions: Vec<SessionId>,
    closed_before: Timestamp,
    cause: EventCause,
}

struct EraserActor {
    premises: Arc<ErasureTargets>,
    /// There may be orders that nobody works on.
    is_unfinished: bool,
}

impl Actor for EraserActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        resume(self, ctx);
        ctx.run_interval(RETRY_EVERY, resume);
    }
}

/// Does the orders that were not done.
fn resume(actor: &mut EraserActor, ctx: &mut Context<EraserActor>) {
    if !actor.is_unfinished {
        return;
    }
    let premises = Arc::clone(&actor.premises);
    let work = async move { premises.resume().await };
    ctx.wait(work.into_actor(actor).map(|resumed, actor, _| match resumed {
        Ok(()) => actor.is_unfinished = false,
        Err(error) => tracing::warn!(%error, "an erasure is not complete; trying again"),
    }));
}

impl Handler<EraseSessions> for EraserActor {
    type Result = AtomicResponse<Self, Result<Vec<SessionId>, EraseError>>;

    fn handle(&mut self, EraseSessions(order): EraseSessions, _: &mut Self::Context) -> Self::Result {
        let premises = Arc::clone(&self.premises);
        let work = async move { premises.erase(order).await };
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
        let premises = Arc::clone(&self.premises);
        let work = async move { premises.expire(&tenant, sessions, closed_before, &cause).await };
        AtomicResponse::new(Box::pin(work.into_actor(self)))
    }
}
