//! Finds the actor of a session, or starts it.
//!
//! Sessions are spread over arbiters by a hash of their stream's name; on each arbiter one `Shard`
//! knows the actors that live there. A shard passivates actors that are idle, and the least recently
//! used ones when it holds too many or they hold too much memory together (`eviction.rs`); never one with a
//! request underway, so that a session has one
//! actor at a time, and never one whose session is erased and not deleted: no other would know. An actor
//! that died is started again from the log by the next request: actix's own supervisor does not survive a
//! panic.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use actix::{dev::SendError, prelude::*};
use amoiq_events::{
    Ambient, EventStore, Position, SessionId, StreamName, TenantId,
    event::EventCause,
    session::{ConversationCloseReason, SendMessage, SessionCaller, SessionCommand},
    store::ReadError,
};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    ProvenUsers,
    session::{Access, Desk, Errand, Meant, Request, Sent, SessionActor, SessionError, SessionSettings},
    transcript::{Page, PageLimit, Window},
};

mod census;
mod eviction;
mod footprint;

pub use census::Census;
pub(crate) use footprint::Footprint;

/// How many requests wait for one shard; one more is refused as [`SessionError::Busy`].
const SHARD_MAILBOX: usize = 16_384;

/// How long a read may take. A session serves one request at a time: a read waits behind a write, and one whose
/// sync hangs has no end.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// What operators can set.
#[derive(Debug, Clone, Copy)]
pub struct DirectorySettings {
    /// How many threads sessions live on.
    pub arbiters: usize,
    /// The most sessions in memory, over all arbiters.
    pub max_sessions: usize,
    /// The most bytes that they hold together, over all arbiters: each has an equal part.
    pub max_memory_bytes: usize,
    /// How long a session without requests stays in memory.
    pub passivate_after: Duration,
    /// For each session.
    pub session: SessionSettings,
}

/// The way to every session. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shards: Arc<[Addr<Shard>]>,
    census: Arc<Census>,
}

impl Directory {
    /// Starts the shards, each on an arbiter of its own.
    #[must_use]
    pub fn start(
        settings: DirectorySettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        proven: &ProvenUsers,
    ) -> Self {
        let count = settings.arbiters.max(1);
        let census = Arc::new(Census::new(count));
        let shard = |number| {
            let shard = Shard::new(settings, store, ambient, proven).counted(&census, number);
            Shard::start_in_arbiter(&Arbiter::new().handle(), |ctx| shard.with_mailbox(ctx))
        };
        Self { shards: (0..count).map(shard).collect(), census }
    }

    /// The same on the caller's own thread: for simulations, which must run in one order.
    #[must_use]
    pub fn start_here(
        settings: DirectorySettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        proven: &ProvenUsers,
    ) -> Self {
        let shard = Shard::new(settings, store, ambient, proven);
        let census = Arc::clone(&shard.census);
        Self { shards: Arc::new([Shard::create(|ctx| shard.with_mailbox(ctx))]), census }
    }

    /// What operators count of it.
    #[must_use]
    pub fn census(&self) -> &Arc<Census> {
        &self.census
    }

    /// Adds a message to a session and answers when it is durable.
    ///
    /// # Errors
    /// A [`SessionError`] that says whether anything may have been appended.
    pub async fn send(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        message: SendMessage,
        cause: EventCause,
    ) -> Result<Sent, SessionError> {
        let command = SessionCommand::SendMessage(Box::new(message));
        self.ask(tenant, session, |reply| Request::Send { command, cause, reply }).await
    }

    /// Closes a session's conversation. One that is closed already stays so.
    ///
    /// # Errors
    /// A [`SessionError`] that says whether anything may have been appended.
    pub async fn close(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        reason: ConversationCloseReason,
        cause: EventCause,
    ) -> Result<(), SessionError> {
        let command = SessionCommand::CloseConversation(reason);
        self.ask(tenant, session, |reply| Request::Close { command, cause, reply }).await
    }

    /// Erases a session: its tenant's stream says so, and its own stream is deleted. The answer is the position
    /// of what was said; nothing when there is no session that is meant.
    ///
    /// # Errors
    /// A [`SessionError`]. It may be erased all the same: doing it again is safe.
    pub async fn erase(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        meant: Meant,
        cause: EventCause,
    ) -> Result<Option<Position>, SessionError> {
        self.ask(tenant, session, |reply| Request::Erase { meant, cause, reply }).await
    }

    /// Gives messages of a session to a caller whom its id opens it to.
    ///
    /// # Errors
    /// A [`SessionError`] when the session could not be read, or not within ten seconds.
    pub async fn read(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        caller: SessionCaller,
        window: Window,
        limit: PageLimit,
    ) -> Result<(Access, Page), SessionError> {
        let reading = self.ask(tenant, session, |reply| Request::Read { caller, window, limit, reply });
        tokio::time::timeout(READ_PATIENCE, reading).await.unwrap_or_else(|_elapsed| {
            let reason = format!("a session was not read within {} s", READ_PATIENCE.as_secs());
            Err(ReadError::Unavailable(reason).into())
        })
    }

    /// Whether a session's id opens it to a caller.
    ///
    /// # Errors
    /// A [`SessionError`] when the session could not be read.
    pub async fn access(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        caller: SessionCaller,
    ) -> Result<Access, SessionError> {
        self.read(tenant, session, caller, Window::Newest, PageLimit::NOTHING).await.map(|(access, _)| access)
    }

    async fn ask<T>(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        request: impl FnOnce(oneshot::Sender<Result<T, SessionError>>) -> Request,
    ) -> Result<T, SessionError> {
        let (reply, answer) = oneshot::channel();
        let stream = StreamName::session(tenant, session);
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        let count = self.shards.len() as u64;
        let number = usize::try_from(hasher.finish() % count.max(1)).unwrap_or_default();
        let shard = self.shards.get(number).ok_or(SessionError::Gone)?;
        match shard.try_send(Route { stream, request: request(reply) }) {
            Ok(()) => answer.await.unwrap_or(Err(SessionError::Gone)),
            Err(SendError::Full(_)) => {
                self.census.refuse();
                Err(SessionError::Busy)
            }
            Err(SendError::Closed(_)) => Err(SessionError::Gone),
        }
    }
}

/// A request on its way to its session.
#[derive(Message)]
#[rtype(result = "()")]
struct Route {
    stream: StreamName,
    request: Request,
}

/// The sessions of one arbiter.
struct Shard {
    actors: HashMap<StreamName, Resident>,
    settings: DirectorySettings,
    store: Arc<dyn EventStore>,
    ambient: Ambient,
    proven: ProvenUsers,
    census: Arc<Census>,
    /// Its place in the census.
    number: usize,
    /// When it looks again for sessions to let go of, after it found none that could leave.
    looks_again: Instant,
}

/// An actor in memory.
struct Resident {
    address: Addr<SessionActor>,
    last_used: Instant,
    /// As many as there are requests in its hands, and this one.
    underway: Arc<()>,
    footprint: Arc<Footprint>,
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let idle = self.settings.passivate_after;
        ctx.run_interval((idle / 4).max(Duration::from_millis(10)), move |shard, _| {
            let now = Instant::now();
            shard.passivate(|resident| now.duration_since(resident.last_used) >= idle);
            shard.free_memory();
        });
    }
}

impl Handler<Route> for Shard {
    type Result = ();

    fn handle(&mut self, route: Route, _: &mut Self::Context) {
        self.pass_on(route);
        // Not before: the session that is asked for has a request underway now, and stays.
        self.free_memory();
    }
}

impl Shard {
    fn pass_on(&mut self, Route { stream, request }: Route) {
        let request = match self.resident(&stream).hand(request) {
            Ok(()) => return,
            Err(SendError::Full(request)) => return self.refuse(request),
            Err(SendError::Closed(request)) => request,
        };
        self.census.die();
        // It died: the log knows everything it knew.
        self.actors.remove(&stream);
        if let Err(SendError::Full(request) | SendError::Closed(request)) =
            self.resident(&stream).hand(request)
        {
            self.refuse(request);
        }
    }

    fn new(
        settings: DirectorySettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        proven: &ProvenUsers,
    ) -> Self {
        let (store, ambient, proven) = (Arc::clone(store), ambient.clone(), proven.clone());
        let (actors, census, number) = (HashMap::new(), Arc::new(Census::new(1)), 0);
        Self { actors, settings, store, ambient, proven, census, number, looks_again: Instant::now() }
    }

    /// Counts where all shards do.
    fn counted(self, census: &Arc<Census>, number: usize) -> Self {
        Self { census: Arc::clone(census), number, ..self }
    }

    fn refuse(&self, request: Request) {
        self.census.refuse();
        request.refuse(SessionError::Busy);
    }

    /// Before it runs: until its mailbox is given a size it holds 16, and a burst would be refused.
    fn with_mailbox(self, ctx: &mut Context<Self>) -> Self {
        ctx.set_mailbox_capacity(SHARD_MAILBOX);
        self
    }

    /// The session's actor, used just now.
    fn resident(&mut self, stream: &StreamName) -> &Resident {
        if !self.actors.contains_key(stream) {
            self.make_room();
            self.census.start();
            self.census.holds(self.number, self.actors.len() + 1);
        }
        let (store, ambient, census, number) = (&self.store, &self.ambient, &self.census, self.number);
        let proven = &self.proven;
        let session = self.settings.session;
        let last_used = Instant::now();
        let resident = self.actors.entry(stream.clone()).or_insert_with(|| {
            let footprint = Arc::new(Footprint::new(census, number));
            let desk = Desk::new(stream.clone(), Arc::clone(store), ambient.clone(), session, proven.clone());
            let address = SessionActor::launch(desk, Arc::clone(&footprint));
            Resident { address, last_used, underway: Arc::default(), footprint }
        });
        resident.last_used = last_used;
        resident
    }
}

impl Resident {
    /// Gives the request back when the actor does not take it.
    fn hand(&self, request: Request) -> Result<(), SendError<Request>> {
        let underway = Arc::clone(&self.underway);
        self.address.try_send(Errand { request, underway }).map_err(|error| match error {
            SendError::Full(errand) => SendError::Full(errand.request),
            SendError::Closed(errand) => SendError::Closed(errand.request),
        })
    }

    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.underway) == 1
    }
}
