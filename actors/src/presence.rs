//! Presence: which of a tenant's visitors are online, from their open connections.
//!
//! Connections report here when they open, identify themselves and close. One `PresenceActor` for each tenant turns that
//! into `user.online` and `user.offline`: in the log for visitors who have written, and as signals ([`PresenceSignals`])
//! for all others, so that connections alone write nothing to disk. A router starts the actor with the tenant's first
//! connection and drops it once nobody is online and nothing is left to announce. All of them run on one arbiter: they
//! count and never wait.
//!
//! A reported change is neither lost nor reordered, because a lost close would leave a visitor online for ever. So a full
//! mailbox makes the caller wait. Nothing is sent with actix's `send`, which accepts more than the mailbox's bound and
//! withdraws a message when its sender stops waiting for the answer.
//!
//! The list of online users is [`OnlineUsers`]. Presence keeps nothing over a restart: nobody is online until they connect
//! again.
//!
//! | file | holds |
//! |---|---|
//! | `presence_actor` | the actor of one tenant's presence |
//! | `tenant_presence` | its state: who is connected, and what was announced |
//! | `presence_signals` | announcements of visitors who have not written |
//! | `online_users` | the projection in memory of who is online |
//! | `online_tables` | its state: a table for each node |
//! | `presence_table` | who is online on one node |
//! | `presence_exchange` | tells other nodes who is online here, and says offline for those that are gone |

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::{dev::SendError, prelude::*};
use amoiq_events::{Ambient, EventLog, SessionId, ShortText, TenantId, UserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use presence_actor::PresenceActor;

mod online_tables;
mod online_users;
mod presence_actor;
mod presence_exchange;
mod presence_signals;
mod presence_table;
mod tenant_presence;

pub use online_tables::PresenceSignal;
pub use online_users::{LoggedNews, OnlineUsers};
pub use presence_exchange::{ExchangeServices, PresenceExchange};
pub use presence_signals::PresenceSignals;
pub use presence_table::{OnlineList, OnlineUser};

/// How many changes are underway to the tenants' actors; one more waits with its caller.
const MAX_UNDERWAY: usize = 4_096;

/// More than can be underway, so no mailbox is ever full.
const MAILBOX: usize = MAX_UNDERWAY + 1;

/// The limit until the router runs: until then its mailbox holds 16 messages.
const MAX_UNDERWAY_AT_FIRST: usize = 15;

/// How often the router drops actors that have nothing to do.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What operators can set.
#[derive(Debug, Clone, Copy)]
pub struct PresenceSettings {
    /// How long a visitor stays online without a connection, for example between two pages.
    pub offline_grace: Duration,
    /// Changes of a tenant within this time become one append.
    pub batch: Duration,
}

/// An open connection: a number that is unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// The visitor of a connection, and the page they are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedVisitor {
    /// The user id that agents see.
    pub user_id: UserId,
    /// Whether a secret key vouched for it.
    pub verified: bool,
    /// The user id that the visitor claims, if it is somebody else's.
    pub claimed_user_id: Option<UserId>,
    /// The session that the connection is bound to.
    pub session_id: SessionId,
    /// Whether the session has messages: if so, changes are announced in the log, otherwise as signals.
    pub has_written: bool,
    /// The site's domain.
    pub domain: Option<ShortText>,
    /// The site's origin.
    pub origin: Option<ShortText>,
    /// The page.
    pub url: Option<ShortText>,
}

/// Whose connections to forget: those of a user, those in some sessions, or both.
#[derive(Debug, Clone, Default)]
pub struct ForgetTarget {
    /// The user.
    pub user: Option<UserId>,
    /// The sessions.
    pub sessions: Arc<HashSet<SessionId>>,
}

/// The presence actors ended: the service is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("presence has ended: the service is stopping")]
pub struct PresenceGone;

/// Reports changes of connections. Cheap to clone.
///
/// When a method returns, its change has been handed over, in the order of the calls. If its future is dropped before, the
/// change may be lost, so a closing connection runs [`PresenceHandle::close`] in a task of its own.
#[derive(Clone)]
pub struct PresenceHandle {
    /// Shared, because every visitor's socket has one and cloning an actor's address allocates.
    router: Arc<Addr<PresenceRouter>>,
    underway: Arc<Semaphore>,
}

impl PresenceHandle {
    /// Starts on an arbiter of its own.
    #[must_use]
    pub fn start(
        settings: PresenceSettings,
        store: &Arc<dyn EventLog>,
        ambient: &Ambient,
        signals: &PresenceSignals,
    ) -> Self {
        let (router, underway) = (PresenceRouter::new(settings, store, ambient, signals), limit_underway());
        let more = Arc::clone(&underway);
        let open = move |ctx: &mut Context<PresenceRouter>| router.with_mailbox(ctx, &more);
        Self { router: Arc::new(PresenceRouter::start_in_arbiter(&Arbiter::new().handle(), open)), underway }
    }

    /// The same on the caller's own thread: for simulations, which must run in one order.
    #[must_use]
    pub fn start_here(
        settings: PresenceSettings,
        store: &Arc<dyn EventLog>,
        ambient: &Ambient,
        signals: &PresenceSignals,
    ) -> Self {
        let (router, underway) = (PresenceRouter::new(settings, store, ambient, signals), limit_underway());
        Self { router: Arc::new(PresenceRouter::create(|ctx| router.with_mailbox(ctx, &underway))), underway }
    }

    /// A connection belongs to this visitor from now on; an unknown connection opens. Its former visitor is offline at once,
    /// without the grace period, unless they have another connection.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn identify(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        visitor: ConnectedVisitor,
    ) -> Result<(), PresenceGone> {
        self.hand_over(tenant, PresenceChange::Identify(connection, Box::new(visitor))).await
    }

    /// A connection closed. An unknown or closed connection changes nothing.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn close(&self, tenant: &TenantId, connection: ConnectionId) -> Result<(), PresenceGone> {
        self.hand_over(tenant, PresenceChange::Close(connection)).await
    }

    /// A session got its first message: its visitor is announced in the log from now on.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn wrote(&self, tenant: &TenantId, session: SessionId) -> Result<(), PresenceGone> {
        self.hand_over(tenant, PresenceChange::Wrote(session)).await
    }

    /// A secret key vouched for a user: visitors who only claim the name are shown without it from now on.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn proven(&self, tenant: &TenantId, user: UserId) -> Result<(), PresenceGone> {
        self.hand_over(tenant, PresenceChange::Proven(user)).await
    }

    /// Announces earlier changes at once instead of with the next batch. It never waits, because a message would wait with
    /// it; when too many changes are underway it does nothing.
    pub fn flush(&self, tenant: &TenantId) {
        if let Ok(permit) = Arc::clone(&self.underway).try_acquire_owned() {
            let route = RouteChange { tenant: tenant.clone(), change: PresenceChange::Flush, permit };
            // Gone only when the service stops.
            let _stopping = self.router.try_send(route);
        }
    }

    /// Waits until earlier changes are in the log or signalled, at most for `patience`, and not for a store that refuses. For
    /// a reader who wants to see visitors who have just connected.
    pub async fn announced(&self, tenant: &TenantId, patience: Duration) {
        let (reply, announced) = oneshot::channel();
        if self.hand_over(tenant, PresenceChange::Await(reply)).await.is_ok() {
            // When it is late, or the store refuses, the reader sees what there is.
            let _late = tokio::time::timeout(patience, announced).await;
        }
    }

    /// Forgets connections, as if they had closed long ago, and waits until that is announced and nothing about them is
    /// underway. A connection that stays open counts again when it identifies itself.
    ///
    /// # Errors
    /// [`PresenceGone`] when the service is stopping.
    pub async fn forget(&self, tenant: &TenantId, target: ForgetTarget) -> Result<(), PresenceGone> {
        let (reply, forgotten) = oneshot::channel();
        self.hand_over(tenant, PresenceChange::Forget(target, reply)).await?;
        forgotten.await.map_err(|_dropped| PresenceGone)
    }

    /// This node was taken for dead by the other nodes and has joined them again: everybody is announced again.
    /// Returns whether it was handed over.
    fn rejoined(&self) -> bool {
        // Gone only when the service stops.
        !matches!(self.router.try_send(RejoinCluster), Err(SendError::Full(_)))
    }

    async fn hand_over(&self, tenant: &TenantId, change: PresenceChange) -> Result<(), PresenceGone> {
        let permit = Arc::clone(&self.underway).acquire_owned().await.map_err(|_closed| PresenceGone)?;
        let route = RouteChange { tenant: tenant.clone(), change, permit };
        // With a permit there is room in the mailbox, so this fails only when the actor is gone.
        self.router.try_send(route).map_err(|_closed| PresenceGone)
    }
}

impl ForgetTarget {
    fn names(&self, user: &UserId, session: &SessionId) -> bool {
        self.user.as_ref() == Some(user) || self.sessions.contains(session)
    }

    fn includes(&self, visitor: &ConnectedVisitor) -> bool {
        let is_claimed = self.user.is_some() && visitor.claimed_user_id == self.user;
        is_claimed || self.names(&visitor.user_id, &visitor.session_id)
    }
}

fn limit_underway() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_UNDERWAY_AT_FIRST))
}

/// A change of a connection, or a request about earlier changes.
enum PresenceChange {
    /// It opened, or identified itself.
    Identify(ConnectionId, Box<ConnectedVisitor>),
    /// It closed.
    Close(ConnectionId),
    /// A session has messages from now on.
    Wrote(SessionId),
    /// A secret key vouched for a user.
    Proven(UserId),
    /// This node was taken for dead by others and has joined them again.
    Rejoined,
    /// Announce what is pending at once.
    Flush,
    /// These connections do not count any more. The caller waits until that is announced.
    Forget(ForgetTarget, oneshot::Sender<()>),
    /// No change: the caller waits until earlier changes are announced.
    Await(oneshot::Sender<()>),
}

/// A change on its way to its tenant's actor.
#[derive(Message)]
#[rtype(result = "()")]
struct RouteChange {
    tenant: TenantId,
    change: PresenceChange,
    permit: OwnedSemaphorePermit,
}

/// This node has joined the others again.
#[derive(Message)]
#[rtype(result = "()")]
struct RejoinCluster;

/// A change for the tenant's actor.
#[derive(Message)]
#[rtype(result = "()")]
struct ApplyChange {
    change: PresenceChange,
    /// Dropped when the change is applied. Of what concerns every tenant there is one at a time, which fits besides.
    permit: Option<OwnedSemaphorePermit>,
    /// Kept by the actor while it has something to do.
    busy: Arc<()>,
}

/// Passes changes to the tenants' actors.
struct PresenceRouter {
    tenants: HashMap<TenantId, RunningPresence>,
    settings: PresenceSettings,
    store: Arc<dyn EventLog>,
    ambient: Ambient,
    signals: PresenceSignals,
}

/// An actor in memory.
struct RunningPresence {
    address: Addr<PresenceActor>,
    /// Shared with changes on their way to the actor, and with the actor while it has something to do.
    busy: Arc<()>,
}

impl Actor for PresenceRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SWEEP_EVERY, |router, _| {
            // An actor without an address ends.
            router.tenants.retain(|_, running| Arc::strong_count(&running.busy) > 1);
        });
    }
}

impl Handler<RouteChange> for PresenceRouter {
    type Result = ();

    fn handle(&mut self, route: RouteChange, _: &mut Self::Context) {
        let RouteChange { tenant, change, permit } = route;
        let Err(step) = self.running(&tenant).try_send(change, Some(permit)) else { return };
        // Not even a store that panics ends it, so this is a defect.
        tracing::error!(tenant.id = %tenant, "a presence actor ended; it starts again without connections");
        self.tenants.remove(&tenant);
        drop(self.running(&tenant).try_send(step.change, step.permit));
    }
}

impl Handler<RejoinCluster> for PresenceRouter {
    type Result = ();

    fn handle(&mut self, _: RejoinCluster, _: &mut Self::Context) {
        for running in self.tenants.values() {
            // It is started again without connections when it is gone.
            drop(running.try_send(PresenceChange::Rejoined, None));
        }
    }
}

impl PresenceRouter {
    fn new(
        settings: PresenceSettings,
        store: &Arc<dyn EventLog>,
        ambient: &Ambient,
        signals: &PresenceSignals,
    ) -> Self {
        let (store, ambient, signals) = (Arc::clone(store), ambient.clone(), signals.clone());
        Self { tenants: HashMap::new(), settings, store, ambient, signals }
    }

    fn with_mailbox(self, ctx: &mut Context<Self>, underway: &Semaphore) -> Self {
        ctx.set_mailbox_capacity(MAILBOX);
        underway.add_permits(MAX_UNDERWAY - MAX_UNDERWAY_AT_FIRST);
        self
    }

    fn running(&mut self, tenant: &TenantId) -> &RunningPresence {
        self.tenants.entry(tenant.clone()).or_insert_with(|| {
            let (store, ambient) = (Arc::clone(&self.store), self.ambient.clone());
            let address = PresenceActor::launch(tenant, store, ambient, self.signals.clone(), self.settings);
            RunningPresence { address, busy: Arc::default() }
        })
    }
}

impl RunningPresence {
    /// Returns the change when the actor is gone.
    fn try_send(
        &self,
        change: PresenceChange,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), ApplyChange> {
        let step = ApplyChange { change, permit, busy: Arc::clone(&self.busy) };
        self.address.try_send(step).map_err(SendError::into_inner)
    }
}
