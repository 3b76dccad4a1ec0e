//! Erases sessions: what a person wrote and what is known of them, from everything that is kept.
//!
//! One actor does it, one order at a time; the service starts it, and operators and [`crate::retention`] ask
//! it. For each session its own actor notes `session.erased` and deletes the stream, in one go
//! ([`Directory::erase`]). Then what hangs on it goes: presence, the inbox (which folds the event), what waits
//! for webhooks. For a person it also sees to the files: no free page and no write-ahead log holds a byte.
//!
//! A stop at any moment is made good: [`finish`] deletes what was said to be erased, before anybody is served;
//! a marker file says that the rest has to be done again, and every step of it can be. Copies that were made
//! before are out of reach: older backups, and what webhooks have delivered.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use amoiq_events::{
    EventStore, Position, SessionId, TenantId, Timestamp, UserId,
    event::Cause,
    store::{AppendError, ReadError},
};

use crate::{
    Directory, Inbox, SessionError,
    inbox::Proof,
    session::Meant,
    views::ViewError,
    webhooks::{LaneRefusal, Webhooks},
};

pub use unfinished::finish;

mod marker;
mod presence;
mod unfinished;

/// How many orders wait.
const MAILBOX: usize = 16;

/// How long it waits for the inbox, and for lanes.
const PATIENCE: Duration = Duration::from_secs(30);

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
    Webhooks(#[from] LaneRefusal),
    /// The log does not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not write.
    #[error(transparent)]
    Store(#[from] AppendError),
    /// The file that says that an erasure is underway.
    #[error("the file `erasing` in the data directory: {0}")]
    Marker(#[from] std::io::Error),
    /// A part did not answer in time.
    #[error("a part of the service did not answer in time")]
    Late,
    /// The actor ended: the service is stopping.
    #[error("the service is stopping")]
    Gone,
}

/// What an erasure works on.
#[derive(Clone)]
pub struct Premises {
    /// The way to sessions.
    pub directory: Directory,
    /// The read model of sessions.
    pub inbox: Inbox,
    /// What delivers to endpoints.
    pub webhooks: Webhooks,
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// The data directory; nothing where there are no files.
    pub data: Option<PathBuf>,
}

/// The way to the actor. Cheap to clone.
#[derive(Clone)]
pub struct Eraser {
    actor: Addr<EraserActor>,
    premises: Arc<Premises>,
}

impl Eraser {
    /// Starts it on the caller's arbiter. What an earlier process left half done is done then.
    #[must_use]
    pub fn start(premises: Premises) -> Self {
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
        let found = self.premises.inbox.sessions_of(tenant.clone(), user.clone(), Proof::Claimed, head);
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
        cause: Cause,
    ) -> Result<Vec<SessionId>, EraseError> {
        let order = Erase { tenant, sessions, user, closed_before: None, cause };
        self.actor.send(order).await.unwrap_or(Err(EraseError::Gone))
    }

    /// Erases those of the sessions whose conversation was closed before a time. The files are not seen to.
    pub(crate) async fn expire(
        &self,
        tenant: TenantId,
        sessions: Vec<SessionId>,
        closed_before: Timestamp,
        cause: Cause,
    ) -> Result<Vec<SessionId>, EraseError> {
        let order = Erase { tenant, sessions, user: None, closed_before: Some(closed_before), cause };
        self.actor.send(order).await.unwrap_or(Err(EraseError::Gone))
    }
}

/// An order.
#[derive(Message)]
#[rtype(result = "Result<Vec<SessionId>, EraseError>")]
struct Erase {
    tenant: TenantId,
    sessions: Vec<SessionId>,
    user: Option<UserId>,
    closed_before: Option<Timestamp>,
    cause: Cause,
}

struct EraserActor {
    premises: Arc<Premises>,
    /// A marker may be there that nobody works on.
    is_unfinished: bool,
}

impl Actor for EraserActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        resume(self, ctx);
        ctx.run_interval(RETRY_EVERY, resume);
    }
}

/// Does again what a marker says was not done.
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

impl Handler<Erase> for EraserActor {
    type Result = AtomicResponse<Self, Result<Vec<SessionId>, EraseError>>;

    fn handle(&mut self, order: Erase, _: &mut Self::Context) -> Self::Result {
        let premises = Arc::clone(&self.premises);
        let work = async move { premises.erase(order).await };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|erased, actor, _| {
            actor.is_unfinished |= erased.is_err();
            erased
        })))
    }
}

impl Premises {
    async fn erase(&self, order: Erase) -> Result<Vec<SessionId>, EraseError> {
        let Erase { tenant, sessions, user, closed_before, cause } = order;
        let is_person = closed_before.is_none();
        let meant = closed_before.map_or(Meant::BegunBy(self.store.head()), Meant::ClosedBefore);
        if is_person {
            self.marker(marker::set).await?;
        }
        let (mut erased, mut gone) = (Vec::new(), HashMap::new());
        for session in sessions {
            let beyond = Position::from_u64(self.store.head().as_u64().saturating_add(1));
            match self.directory.erase(&tenant, &session, meant, cause.clone()).await? {
                Some(at) => {
                    gone.insert(session.clone(), at);
                    erased.push(session);
                }
                // A person's session may be gone from the log and not from elsewhere.
                None if is_person => drop(gone.insert(session, beyond)),
                None => {}
            }
        }
        if is_person || !gone.is_empty() {
            self.sweep(&tenant, Arc::new(gone), user.as_ref(), is_person).await?;
        }
        if is_person {
            self.scrub().await?;
            self.marker(marker::clear).await?;
        }
        tracing::info!(tenant.id = %tenant, sessions = erased.len(), by = &*cause.actor, "sessions were erased");
        Ok(erased)
    }

    /// Removes what hangs on sessions that the log does not have any more.
    async fn sweep(
        &self,
        tenant: &TenantId,
        gone: Arc<HashMap<SessionId, Position>>,
        user: Option<&UserId>,
        with_presence: bool,
    ) -> Result<(), EraseError> {
        if with_presence {
            presence::forget(&*self.store, tenant, &gone, user).await?;
        }
        // A projection that stands still must not keep the rest from going.
        let followed = self.inbox.progress().reach(self.store.head(), PATIENCE).await;
        let erasing = self.webhooks.erase(tenant, &gone);
        tokio::time::timeout(PATIENCE, erasing).await.map_err(|_elapsed| EraseError::Late)??;
        Ok(followed?)
    }

    /// Sees to it that no file holds what was removed.
    async fn scrub(&self) -> Result<(), EraseError> {
        self.store.scrub().await?;
        self.inbox.scrub().await?;
        Ok(self.webhooks.scrub().await?)
    }

    /// Does again for what was erased last whatever can be done again.
    async fn resume(&self) -> Result<(), EraseError> {
        let is_set = self.marker(marker::is_set).await?;
        if !is_set {
            return Ok(());
        }
        let mut by_tenant: BTreeMap<TenantId, HashMap<SessionId, Position>> = BTreeMap::new();
        for erasure in unfinished::newest(&*self.store).await? {
            let of_tenant = by_tenant.entry(erasure.tenant).or_default();
            let at = of_tenant.entry(erasure.session).or_insert(erasure.at);
            *at = erasure.at.max(*at);
        }
        for (tenant, gone) in by_tenant {
            self.sweep(&tenant, Arc::new(gone), None, true).await?;
        }
        self.scrub().await?;
        self.marker(marker::clear).await?;
        tracing::info!("an erasure that was interrupted is complete");
        Ok(())
    }

    async fn marker<T: Send + Default + 'static>(
        &self,
        act: fn(&Path) -> std::io::Result<T>,
    ) -> Result<T, EraseError> {
        let Some(data) = self.data.clone() else { return Ok(T::default()) };
        let acting = tokio::task::spawn_blocking(move || act(&data));
        Ok(acting.await.map_err(|_panicked| EraseError::Gone)??)
    }
}
