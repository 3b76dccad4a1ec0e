//! Who of a tenant's visitors is online, by their open connections: the way in.
//!
//! A connection is told here when it opens, names itself and closes. One `PresenceActor` per tenant
//! turns that into `user.online` and `user.offline`: in the log for visitors who have written, and as signals
//! ([`crate::online::PresenceSignals`]) for all others, so that connections alone write nothing to disk. A routing actor
//! starts it with the tenant's first connection and lets it go once nobody is online and nothing is left to say.
//! All of them live on one arbiter: they count and never wait.
//!
//! What was handed over is neither lost nor overtaken, for a close that is lost is a ghost for ever. So
//! a full mailbox makes the caller wait; and nothing is sent by actix's `send`, which lets more in than
//! the mailbox's bound and takes a message back when its sender stops waiting for the answer.
//!
//! It does not know who is listed (that is [`crate::online`]), and it remembers nothing: after a
//! restart nobody is online until they connect again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::{dev::SendError, prelude::*};
use amoiq_events::{Ambient, EventStore, SessionId, ShortText, TenantId, UserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use presence_actor::PresenceActor;

mod online_users;
mod presence_actor;
mod presence_signals;
mod presence_table;
mod tenant_presence;

pub use online_users::OnlineUsers;
pub use presence_signals::{PresenceSignal, PresenceSignals};
pub use presence_table::{OnlineList, OnlineUser};

/// How many changes are on their way to the tenants' actors; one more waits with its caller.
const ROOM: usize = 4_096;

/// More than can be on their way, so that no mailbox is ever full.
const MAILBOX: usize = ROOM + 1;

/// The same until the routing actor runs: actix gives a mailbox 16 places until it is told otherwise.
const ROOM_AT_FIRST: usize = 15;

/// How often the routing actor looks for tenants to let go.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What operators can set.
#[derive(Debug, Clone, Copy)]
pub struct PresenceSettings {
    /// How long a visitor may be without a connection, as between two pages, and still be online.
    pub offline_grace: Duration,
    /// Changes of a tenant within this time are one append.
    pub batch: Duration,
}

/// One open connection: a number that is unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// Who a connection is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedVisitor {
    /// Who, as agents see them.
    pub user_id: UserId,
    /// Whether a secret key vouched for them.
    pub verified: bool,
    /// Who they say they are, where that is another's name.
    pub claimed_user_id: Option<UserId>,
    /// The session that the connection is bound to.
    pub session_id: SessionId,
    /// Whether there are messages in it: then the log says who came and went, and else a signal does.
    pub has_written: bool,
    /// The site's domain.
    pub domain: Option<ShortText>,
    /// The site's origin.
    pub origin: Option<ShortText>,
    /// The page.
    pub url: Option<ShortText>,
}

/// Who is to be forgotten: a user, whoever is in some sessions, or both.
#[derive(Debug, Clone, Default)]
pub struct ForgetTarget {
    /// The user.
    pub user: Option<UserId>,
    /// The sessions.
    pub sessions: Arc<HashSet<SessionId>>,
}

/// The presence actors are gone: the service is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody counts who is online any more")]
pub struct PresenceGone;

/// The way to the presence of every tenant. Cheap to clone.
///
/// A method that returned has handed its change over, in the order of the calls; one that is dropped
/// before may not have. A connection that goes away gives its [`PresenceHandle::close`] to a task.
#[derive(Clone)]
pub struct PresenceHandle {
    /// Every visitor's socket keeps it, and a clone of an actor's address is an allocation.
    router: Arc<Addr<PresenceRouter>>,
    room: Arc<Semaphore>,
}

impl PresenceHandle {
    /// Starts on an arbiter of its own.
    #[must_use]
    pub fn start(
        settings: PresenceSettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        signals: &PresenceSignals,
    ) -> Self {
        let (router, room) = (PresenceRouter::new(settings, store, ambient, signals), room());
        let more = Arc::clone(&room);
        let open = move |ctx: &mut Context<PresenceRouter>| router.with_mailbox(ctx, &more);
        Self { router: Arc::new(PresenceRouter::start_in_arbiter(&Arbiter::new().handle(), open)), room }
    }

    /// The same on the caller's own thread: for simulations, which must run in one order.
    #[must_use]
    pub fn start_here(
        settings: PresenceSettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        signals: &PresenceSignals,
    ) -> Self {
        let (router, room) = (PresenceRouter::new(settings, store, ambient, signals), room());
        Self { router: Arc::new(PresenceRouter::create(|ctx| router.with_mailbox(ctx, &room))), room }
    }

    /// A connection is this visitor from now on; one that is not known opens. Whom it was before is offline
    /// at once, without the grace, unless another connection is still theirs.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn identify(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        visitor: ConnectedVisitor,
    ) -> Result<(), PresenceGone> {
        self.hand(tenant, PresenceChange::Enter(connection, Box::new(visitor))).await
    }

    /// A connection closed. One that is not known, or closed before, changes nothing.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn close(&self, tenant: &TenantId, connection: ConnectionId) -> Result<(), PresenceGone> {
        self.hand(tenant, PresenceChange::Leave(connection)).await
    }

    /// A session got its first message: the log says of its visitor what only signals said before.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn wrote(&self, tenant: &TenantId, session: SessionId) -> Result<(), PresenceGone> {
        self.hand(tenant, PresenceChange::Wrote(session)).await
    }

    /// A secret key vouched for a user: whoever only claims the name is shown without it from now on.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn proven(&self, tenant: &TenantId, user: UserId) -> Result<(), PresenceGone> {
        self.hand(tenant, PresenceChange::Proven(user)).await
    }

    /// Has what was handed over before said at once instead of with the next batch. It never waits, so that a message
    /// does not; where so much is on its way that it would have to, nothing is put forward.
    pub fn hurry(&self, tenant: &TenantId) {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
            let route = RouteChange { tenant: tenant.clone(), change: PresenceChange::Hurry, room };
            // Gone only when the service stops.
            let _stopping = self.router.try_send(route);
        }
    }

    /// Waits until what was handed over before is in the log or signalled, but not longer than `patience`, and not for a
    /// store that refuses: for a reader who wants to see whoever has just come.
    pub async fn said(&self, tenant: &TenantId, patience: Duration) {
        let (reply, said) = oneshot::channel();
        if self.hand(tenant, PresenceChange::Ask(reply)).await.is_ok() {
            // Late, or the store refuses: the reader sees what there is.
            let _late = tokio::time::timeout(patience, said).await;
        }
    }

    /// Takes connections out, as if they had closed long ago, and waits until the log says so and nothing of them
    /// is on its way to it. One that stays open counts again when it names itself.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn forget(&self, tenant: &TenantId, whom: ForgetTarget) -> Result<(), PresenceGone> {
        let (reply, said) = oneshot::channel();
        self.hand(tenant, PresenceChange::Forget(whom, reply)).await?;
        said.await.map_err(|_dropped| PresenceGone)
    }

    async fn hand(&self, tenant: &TenantId, change: PresenceChange) -> Result<(), PresenceGone> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_closed| PresenceGone)?;
        let route = RouteChange { tenant: tenant.clone(), change, room };
        // Whoever has room finds a place in the mailbox, so this fails only when the actor is gone.
        self.router.try_send(route).map_err(|_closed| PresenceGone)
    }
}

impl ForgetTarget {
    fn names(&self, user: &UserId, session: &SessionId) -> bool {
        self.user.as_ref() == Some(user) || self.sessions.contains(session)
    }

    fn is(&self, visitor: &ConnectedVisitor) -> bool {
        let is_claimed = self.user.is_some() && visitor.claimed_user_id == self.user;
        is_claimed || self.names(&visitor.user_id, &visitor.session_id)
    }
}

fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM_AT_FIRST))
}

/// What happened to a connection.
enum PresenceChange {
    /// It opened, or named itself.
    Enter(ConnectionId, Box<ConnectedVisitor>),
    /// It closed.
    Leave(ConnectionId),
    /// A session has messages from now on.
    Wrote(SessionId),
    /// A secret key vouched for a user.
    Proven(UserId),
    /// What is to be said is said at once.
    Hurry,
    /// They do not count any more; somebody waits until that is said.
    Forget(ForgetTarget, oneshot::Sender<()>),
    /// None: somebody waits until what came before is in the log.
    Ask(oneshot::Sender<()>),
}

/// A change on its way to its tenant.
#[derive(Message)]
#[rtype(result = "()")]
struct RouteChange {
    tenant: TenantId,
    change: PresenceChange,
    room: OwnedSemaphorePermit,
}

/// A change in the hands of the tenant's actor.
#[derive(Message)]
#[rtype(result = "()")]
struct ApplyChange {
    change: PresenceChange,
    /// Let go of when the change is counted.
    room: OwnedSemaphorePermit,
    /// Kept by the actor for as long as it has something to do.
    busy: Arc<()>,
}

/// Knows the actor of each tenant.
struct PresenceRouter {
    tenants: HashMap<TenantId, RunningPresence>,
    settings: PresenceSettings,
    store: Arc<dyn EventStore>,
    ambient: Ambient,
    signals: PresenceSignals,
}

/// An actor in memory.
struct RunningPresence {
    address: Addr<PresenceActor>,
    /// Shared with the changes on their way to the actor, and with the actor while it has something to do.
    busy: Arc<()>,
}

impl Actor for PresenceRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SWEEP_EVERY, |router, _| {
            // An actor without an address ends.
            router.tenants.retain(|_, resident| Arc::strong_count(&resident.busy) > 1);
        });
    }
}

impl Handler<RouteChange> for PresenceRouter {
    type Result = ();

    fn handle(&mut self, route: RouteChange, _: &mut Self::Context) {
        let RouteChange { tenant, change, room } = route;
        let Err(step) = self.resident(&tenant).hand(change, room) else { return };
        // Nothing that it does can end it, a store that panics included: that would be a defect here.
        tracing::error!(tenant.id = %tenant, "a presence actor ended; it begins again with nobody");
        self.tenants.remove(&tenant);
        drop(self.resident(&tenant).hand(step.change, step.room));
    }
}

impl PresenceRouter {
    fn new(
        settings: PresenceSettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        signals: &PresenceSignals,
    ) -> Self {
        let (store, ambient, signals) = (Arc::clone(store), ambient.clone(), signals.clone());
        Self { tenants: HashMap::new(), settings, store, ambient, signals }
    }

    fn with_mailbox(self, ctx: &mut Context<Self>, room: &Semaphore) -> Self {
        ctx.set_mailbox_capacity(MAILBOX);
        room.add_permits(ROOM - ROOM_AT_FIRST);
        self
    }

    fn resident(&mut self, tenant: &TenantId) -> &RunningPresence {
        self.tenants.entry(tenant.clone()).or_insert_with(|| {
            let (store, ambient) = (Arc::clone(&self.store), self.ambient.clone());
            let address = PresenceActor::launch(tenant, store, ambient, self.signals.clone(), self.settings);
            RunningPresence { address, busy: Arc::default() }
        })
    }
}

impl RunningPresence {
    /// Gives the change back when the actor is gone.
    fn hand(&self, change: PresenceChange, room: OwnedSemaphorePermit) -> Result<(), ApplyChange> {
        let step = ApplyChange { change, room, busy: Arc::clone(&self.busy) };
        self.address.try_send(step).map_err(SendError::into_inner)
    }
}
