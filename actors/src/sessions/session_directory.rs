//! Finds the actor of a session, or starts it.
//!
//! Sessions are distributed over arbiters by a hash of their stream's name; on each arbiter one `DirectoryShard` knows
//! the actors that run there. A shard passivates idle actors, and the least recently used ones when there are too many or
//! they take too much memory together (`session_eviction`). It never passivates an actor with an operation underway, so a
//! session has one actor at a time, and never one whose session is erased but not deleted, because no other actor would
//! know. The next operation starts a dead actor again from the log: actix's own supervisor does not survive a panic.

use std::{
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
use parking_lot::RwLock;
use tokio::{sync::oneshot, time::Instant};

use crate::sessions::{
    directory_counters::{DirectoryCounters, SessionMemory},
    proven_users::ProvenUsers,
    session_actor::{
        ErasureCondition, ExecuteOperation, SentMessage, SessionAccess, SessionActor, SessionError,
        SessionOperation, SessionSettings, SessionWorker,
    },
    transcript::{MessagePage, PageLimit, PageQuery, PageWindow, SessionConversation},
};

mod session_eviction;

/// How many requests wait for one shard; one more is refused as [`SessionError::Busy`].
const SHARD_MAILBOX: usize = 16_384;

/// How long a read may take. A session serves one operation at a time, so a read waits for the write before it, and a write
/// whose sync hangs never ends.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// What operators can set.
#[derive(Debug, Clone, Copy)]
pub struct DirectorySettings {
    /// The number of threads that run sessions.
    pub arbiters: usize,
    /// The most sessions in memory, over all arbiters.
    pub max_sessions: usize,
    /// The most bytes that they take together. Each arbiter may use an equal part.
    pub max_memory_bytes: usize,
    /// How long a session without requests stays in memory.
    pub passivate_after: Duration,
    /// For each session.
    pub session: SessionSettings,
}

/// Sends requests to sessions. Cheap to clone.
#[derive(Clone)]
pub struct SessionDirectory {
    places: Arc<[ShardPlace]>,
    /// A shard that does not run yet.
    idle: Arc<dyn Fn(usize) -> DirectoryShard + Send + Sync>,
    counters: Arc<DirectoryCounters>,
}

/// Where a shard runs; nowhere before its thread has started, and while a thread that ended is started again.
type ShardPlace = RwLock<Option<Addr<DirectoryShard>>>;

impl SessionDirectory {
    /// A directory whose shards are started by [`Self::run_shard`] or [`Self::run_all`]. Until then its sessions are busy.
    #[must_use]
    pub fn new(
        settings: DirectorySettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        proven: &ProvenUsers,
    ) -> Self {
        let count = settings.arbiters.max(1);
        let counters = Arc::new(DirectoryCounters::new(count));
        let (store, ambient, proven) = (Arc::clone(store), ambient.clone(), proven.clone());
        let of_shards = Arc::clone(&counters);
        let idle = move |number| DirectoryShard {
            actors: foldhash::HashMap::default(),
            settings,
            store: Arc::clone(&store),
            ambient: ambient.clone(),
            proven: proven.clone(),
            counters: Arc::clone(&of_shards),
            number,
            looks_again: Instant::now(),
        };
        Self { places: (0..count).map(|_| ShardPlace::default()).collect(), idle: Arc::new(idle), counters }
    }

    /// Runs a shard that does not run yet, if there is one, on the current arbiter. Where requests are served on the same
    /// thread, every other hand-over needs no wake-up.
    pub fn run_shard(&self) {
        for (number, place) in self.places.iter().enumerate() {
            let mut place = place.write();
            if !place.as_ref().is_some_and(Addr::connected) {
                let shard = (self.idle)(number);
                *place = Some(DirectoryShard::create(|ctx| shard.with_mailbox(ctx)));
                return;
            }
        }
    }

    /// Runs all shards, each on an arbiter of its own.
    pub fn run_all(&self) {
        for (number, place) in self.places.iter().enumerate() {
            let shard = (self.idle)(number);
            let address =
                DirectoryShard::start_in_arbiter(&Arbiter::new().handle(), |ctx| shard.with_mailbox(ctx));
            *place.write() = Some(address);
        }
    }

    /// One shard on the caller's own thread: for simulations, which must run in one order.
    #[must_use]
    pub fn start_here(
        settings: DirectorySettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        proven: &ProvenUsers,
    ) -> Self {
        let directory = Self::new(DirectorySettings { arbiters: 1, ..settings }, store, ambient, proven);
        directory.run_shard();
        directory
    }

    /// Counters for operators.
    #[must_use]
    pub fn counters(&self) -> &Arc<DirectoryCounters> {
        &self.counters
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
    ) -> Result<SentMessage, SessionError> {
        let command = SessionCommand::SendMessage(Box::new(message));
        self.ask(tenant, session, |reply| SessionOperation::Send { command, cause, reply }).await
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
        self.ask(tenant, session, |reply| SessionOperation::Close { command, cause, reply }).await
    }

    /// Erases a session that meets the condition: an event in its tenant's stream records it, and its own stream is
    /// deleted. Returns the position of that event, or `None` when there is no such session.
    ///
    /// # Errors
    /// A [`SessionError`]. The session may be erased all the same; erasing it again is safe.
    pub async fn erase(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        condition: ErasureCondition,
        cause: EventCause,
    ) -> Result<Option<Position>, SessionError> {
        self.ask(tenant, session, |reply| SessionOperation::Erase { condition, cause, reply }).await
    }

    /// Reads messages of a session, if the caller may access it.
    ///
    /// # Errors
    /// A [`SessionError`] when the session could not be read, or not within ten seconds.
    pub async fn read(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        query: PageQuery,
    ) -> Result<(SessionAccess, MessagePage), SessionError> {
        let reading = self.ask(tenant, session, |reply| SessionOperation::Read { query, reply });
        tokio::time::timeout(READ_PATIENCE, reading).await.unwrap_or_else(|_elapsed| {
            let reason = format!("a session was not read within {} s", READ_PATIENCE.as_secs());
            Err(ReadError::Unavailable(reason).into())
        })
    }

    /// Whether a caller may access a session, and the conversation in it if so.
    ///
    /// # Errors
    /// A [`SessionError`] when the session could not be read.
    pub async fn open(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        caller: SessionCaller,
    ) -> Result<(SessionAccess, Option<SessionConversation>), SessionError> {
        let query = PageQuery { caller, window: PageWindow::Newest, limit: PageLimit::NOTHING };
        self.read(tenant, session, query).await.map(|(access, page)| (access, page.conversation))
    }

    /// Another node erased a session: if it is in memory, it is read again before it is used.
    pub(super) fn forget(&self, stream: StreamName) {
        // A session that has no room for this has requests, and an append of it is refused by its version.
        if let Some(shard) = &*self.place(&stream).read() {
            let _busy = shard.try_send(ForgetSession(stream));
        }
    }

    /// The place of the shard that has a session.
    fn place(&self, stream: &StreamName) -> &ShardPlace {
        static NOWHERE: ShardPlace = ShardPlace::new(None);
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        let count = self.places.len() as u64;
        let number = usize::try_from(hasher.finish() % count.max(1)).unwrap_or_default();
        self.places.get(number).unwrap_or(&NOWHERE)
    }

    async fn ask<T>(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        operation: impl FnOnce(oneshot::Sender<Result<T, SessionError>>) -> SessionOperation,
    ) -> Result<T, SessionError> {
        let (reply, answer) = oneshot::channel();
        let stream = StreamName::session(tenant, session);
        let is_sent = match &*self.place(&stream).read() {
            Some(shard) => shard.try_send(RouteOperation { stream, operation: operation(reply) }).is_ok(),
            None => false,
        };
        if is_sent {
            answer.await.unwrap_or(Err(SessionError::Gone))
        } else {
            self.counters.count_refusal();
            Err(SessionError::Busy)
        }
    }
}

/// An operation for a session, on its way to the shard.
#[derive(Message)]
#[rtype(result = "()")]
struct RouteOperation {
    stream: StreamName,
    operation: SessionOperation,
}

/// A session that another node erased.
#[derive(Message)]
#[rtype(result = "()")]
struct ForgetSession(StreamName);

/// The sessions of one arbiter.
struct DirectoryShard {
    /// By a hasher that is seeded, since strangers choose names, and quick, since every message looks here.
    actors: foldhash::HashMap<StreamName, RunningSession>,
    settings: DirectorySettings,
    store: Arc<dyn EventStore>,
    ambient: Ambient,
    proven: ProvenUsers,
    counters: Arc<DirectoryCounters>,
    /// Which of the counters is its own.
    number: usize,
    /// When it looks again for sessions to evict, after it found too few idle ones.
    looks_again: Instant,
}

/// An actor in memory.
struct RunningSession {
    address: Addr<SessionActor>,
    last_used: Instant,
    /// One clone for each operation that the actor has, and this one.
    underway: Arc<()>,
    memory: Arc<SessionMemory>,
}

impl Actor for DirectoryShard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let idle = self.settings.passivate_after;
        ctx.run_interval((idle / 4).max(Duration::from_millis(10)), move |shard, _| {
            let now = Instant::now();
            shard.passivate(|running| now.duration_since(running.last_used) >= idle);
            shard.free_memory();
        });
    }
}

impl Handler<RouteOperation> for DirectoryShard {
    type Result = ();

    fn handle(&mut self, route: RouteOperation, _: &mut Self::Context) {
        self.deliver(route);
        // After that: the session has an operation underway now, so it stays.
        self.free_memory();
    }
}

impl Handler<ForgetSession> for DirectoryShard {
    type Result = ();

    fn handle(&mut self, ForgetSession(stream): ForgetSession, _: &mut Self::Context) {
        if let Some(running) = self.actors.get(&stream) {
            // See `SessionDirectory::forget`.
            let _busy = running.try_send(SessionOperation::Forget);
        }
    }
}

impl DirectoryShard {
    fn deliver(&mut self, RouteOperation { stream, operation }: RouteOperation) {
        let operation = match self.running_session(&stream).try_send(operation) {
            Ok(()) => return,
            Err(SendError::Full(operation)) => return self.refuse(operation),
            Err(SendError::Closed(operation)) => operation,
        };
        self.counters.count_death();
        // It died. Everything that it knew is in the log.
        self.actors.remove(&stream);
        if let Err(SendError::Full(operation) | SendError::Closed(operation)) =
            self.running_session(&stream).try_send(operation)
        {
            self.refuse(operation);
        }
    }

    fn refuse(&self, operation: SessionOperation) {
        self.counters.count_refusal();
        operation.refuse(SessionError::Busy);
    }

    /// To be called before it runs: until then a mailbox holds 16 messages, and a burst would be refused.
    fn with_mailbox(self, ctx: &mut Context<Self>) -> Self {
        ctx.set_mailbox_capacity(SHARD_MAILBOX);
        self
    }

    /// The session's actor, started if needed, marked as used now.
    fn running_session(&mut self, stream: &StreamName) -> &RunningSession {
        if !self.actors.contains_key(stream) {
            self.make_room();
            self.counters.count_start();
            self.counters.set_sessions(self.number, self.actors.len() + 1);
        }
        let (store, ambient, counters, number) = (&self.store, &self.ambient, &self.counters, self.number);
        let proven = &self.proven;
        let session = self.settings.session;
        let last_used = Instant::now();
        let running = self.actors.entry(stream.clone()).or_insert_with(|| {
            let memory = Arc::new(SessionMemory::new(counters, number));
            let worker = SessionWorker::new(
                stream.clone(),
                Arc::clone(store),
                ambient.clone(),
                session,
                proven.clone(),
            );
            let address = SessionActor::launch(worker, Arc::clone(&memory));
            RunningSession { address, last_used, underway: Arc::default(), memory }
        });
        running.last_used = last_used;
        running
    }
}

impl RunningSession {
    /// Returns the operation when the actor does not take it.
    fn try_send(&self, operation: SessionOperation) -> Result<(), SendError<SessionOperation>> {
        let underway = Arc::clone(&self.underway);
        self.address.try_send(ExecuteOperation { operation, underway }).map_err(|error| match error {
            SendError::Full(execute) => SendError::Full(execute.operation),
            SendError::Closed(execute) => SendError::Closed(execute.operation),
        })
    }

    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.underway) == 1
    }
}
