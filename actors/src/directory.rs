//! Finds the actor of a session, or starts it.
//!
//! Sessions are spread over arbiters by a hash of their stream's name; on each arbiter one [`Shard`]
//! knows the actors that live there. A shard passivates actors that are idle, and the least recently
//! used ones when it holds too many. An actor that died is started again from the log by the next
//! request: actix's own supervisor does not survive a panic.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{dev::SendError, prelude::*};
use amoiq_events::{
    Ambient, EventStore, SessionId, StreamName, TenantId,
    event::Cause,
    session::{Caller, CloseReason, SendMessage, SessionCommand},
};
use tokio::sync::oneshot;

use crate::{
    session::{Access, Passivate, Request, Sent, SessionActor, SessionError, SessionSettings},
    transcript::{Page, Window},
};

/// How many requests wait for one shard; one more is refused as [`SessionError::Busy`].
const SHARD_MAILBOX: usize = 16_384;

/// When a shard is full, this part of its actors is passivated at once, so that it is rare.
const EVICTED_PART: usize = 8;

/// What operators can set.
#[derive(Debug, Clone, Copy)]
pub struct DirectorySettings {
    /// How many threads sessions live on.
    pub arbiters: usize,
    /// The most sessions in memory, over all arbiters.
    pub max_sessions: usize,
    /// How long a session without requests stays in memory.
    pub passivate_after: Duration,
    /// For each session.
    pub session: SessionSettings,
}

/// The way to every session. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shards: Arc<[Addr<Shard>]>,
}

impl Directory {
    /// Starts the shards, each on an arbiter of its own.
    #[must_use]
    pub fn start(settings: DirectorySettings, store: &Arc<dyn EventStore>, ambient: &Ambient) -> Self {
        let shard = |_| {
            let shard = Shard {
                actors: HashMap::new(),
                settings,
                store: Arc::clone(store),
                ambient: ambient.clone(),
            };
            Shard::start_in_arbiter(&Arbiter::new().handle(), |_| shard)
        };
        Self { shards: (0..settings.arbiters.max(1)).map(shard).collect() }
    }

    /// The same on the caller's own thread: for simulations, which must run in one order.
    #[must_use]
    pub fn start_here(settings: DirectorySettings, store: &Arc<dyn EventStore>, ambient: &Ambient) -> Self {
        let shard =
            Shard { actors: HashMap::new(), settings, store: Arc::clone(store), ambient: ambient.clone() };
        Self { shards: Arc::new([shard.start()]) }
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
        cause: Cause,
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
        reason: CloseReason,
        cause: Cause,
    ) -> Result<(), SessionError> {
        let command = SessionCommand::CloseConversation(reason);
        self.ask(tenant, session, |reply| Request::Close { command, cause, reply }).await
    }

    /// Gives messages of a session to a caller whom its id opens it to.
    ///
    /// # Errors
    /// A [`SessionError`] when the session could not be read.
    pub async fn read(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        caller: Caller,
        window: Window,
        limit: u32,
    ) -> Result<(Access, Page), SessionError> {
        self.ask(tenant, session, |reply| Request::Read { caller, window, limit, reply }).await
    }

    /// Whether a session's id opens it to a caller.
    ///
    /// # Errors
    /// A [`SessionError`] when the session could not be read.
    pub async fn access(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        caller: Caller,
    ) -> Result<Access, SessionError> {
        self.read(tenant, session, caller, Window::Newest, 0).await.map(|(access, _)| access)
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
            Err(SendError::Full(_)) => Err(SessionError::Busy),
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
}

/// An actor in memory.
struct Resident {
    address: Addr<SessionActor>,
    last_used: Instant,
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SHARD_MAILBOX);
        let idle = self.settings.passivate_after;
        ctx.run_interval((idle / 4).max(Duration::from_millis(10)), move |shard, _| {
            let now = Instant::now();
            shard.passivate(|resident| now.duration_since(resident.last_used) >= idle);
        });
    }
}

impl Handler<Route> for Shard {
    type Result = ();

    fn handle(&mut self, route: Route, _: &mut Self::Context) {
        let Route { stream, request } = route;
        let request = match self.resident(&stream).address.try_send(request) {
            Ok(()) => return,
            Err(SendError::Full(request)) => return request.refuse(SessionError::Busy),
            Err(SendError::Closed(request)) => request,
        };
        // It died: the log knows everything it knew.
        self.actors.remove(&stream);
        if let Err(SendError::Full(request) | SendError::Closed(request)) =
            self.resident(&stream).address.try_send(request)
        {
            request.refuse(SessionError::Busy);
        }
    }
}

impl Shard {
    /// The session's actor, used just now.
    fn resident(&mut self, stream: &StreamName) -> &Resident {
        if !self.actors.contains_key(stream) {
            self.make_room();
        }
        let (store, ambient) = (&self.store, &self.ambient);
        let session = self.settings.session;
        let last_used = Instant::now();
        let resident = self.actors.entry(stream.clone()).or_insert_with(|| {
            let actor = SessionActor::new(stream.clone(), Arc::clone(store), ambient.clone(), session);
            Resident { address: actor.start(), last_used }
        });
        resident.last_used = last_used;
        resident
    }

    fn make_room(&mut self) {
        let most = (self.settings.max_sessions / self.settings.arbiters.max(1)).max(EVICTED_PART);
        if self.actors.len() < most {
            return;
        }
        let mut used: Vec<_> = self.actors.values().map(|resident| resident.last_used).collect();
        let (_, oldest_to_stay, _) = used.select_nth_unstable(most / EVICTED_PART);
        let oldest_to_stay = *oldest_to_stay;
        self.passivate(|resident| resident.last_used < oldest_to_stay);
    }

    /// An actor that cannot take the message is busy, and stays.
    fn passivate(&mut self, mut leaves: impl FnMut(&Resident) -> bool) {
        self.actors.retain(|_, resident| {
            !leaves(resident) || matches!(resident.address.try_send(Passivate), Err(SendError::Full(_)))
        });
    }
}
