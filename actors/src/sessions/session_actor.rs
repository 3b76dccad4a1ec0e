//! The actor of one session: it holds the session's state, folded from its stream, and the newest messages.
//!
//! The directory starts it on the session's first operation and passivates it when it is idle. It handles one operation at a
//! time and holds its mailbox until the append has ended, so decisions never interleave. When the store cannot say
//! whether an append happened, the actor drops its state and reads it again: the state is never ahead of the log.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    Ambient, EventStore, MessageId, Position, StreamName, UserId,
    codec::CodecError,
    event::{Event, EventCause},
    session::{Session, SessionCaller, SessionCommand, SessionEvent, SessionRefusal},
    store::{AppendError, ExpectedVersion, ReadError},
    stream::StreamKind,
};
use tokio::{sync::oneshot, time::Instant};

use self::session_state::{LoadedSession, SessionState};
use crate::sessions::{
    directory_counters::SessionMemory,
    proven_users::ProvenUsers,
    transcript::{ChatMessage, MessagePage, PageQuery},
};

pub use session_erasure::ErasureCondition;

mod message_reading;
mod session_erasure;
mod session_state;
mod stream_reading;

/// How many requests wait for one session; one more is refused as [`SessionError::Busy`].
const MAILBOX: usize = 2_048;

/// How long it decides again after other writers were faster: as long as a request may take.
const CONFLICT_PATIENCE: Duration = Duration::from_secs(10);

/// What operators can set.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// The most events of a session.
    pub max_events: u64,
}

/// What an accepted message became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentMessage {
    /// It is in the log.
    Stored(Arc<ChatMessage>),
    /// The log already contains it under this id.
    Duplicate(MessageId),
}

/// Whether a caller may access a session whose id they know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAccess {
    /// There is no such session.
    Missing,
    /// Yes.
    Granted,
    /// No: it belongs to a verified user, and this is somebody else.
    Denied,
}

/// Why a session did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// The session's rules forbid it.
    #[error(transparent)]
    Refused(#[from] SessionRefusal),
    /// Too many requests wait already. Nothing was appended.
    #[error("the session has more requests than it can hold")]
    Busy,
    /// The store did not confirm the append. The events may exist all the same, unless the error says otherwise.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The stream could not be read. Nothing was appended.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream contains an event that this release cannot read. Nothing was appended.
    #[error(transparent)]
    Codec(#[from] Arc<CodecError>),
    /// The log records its erasure, but its events could not be deleted yet.
    #[error("a session is erased and not deleted; the next start deletes it, if nothing does before: {0}")]
    Undeleted(AppendError),
    /// The actor ended while it worked: a defect.
    #[error("the session's actor ended")]
    Gone,
}

type Reply<T> = oneshot::Sender<Result<T, SessionError>>;

/// An operation, with the channel for its answer.
pub(crate) enum SessionOperation {
    /// Executes a command that adds a message.
    Send { command: SessionCommand, cause: EventCause, reply: Reply<SentMessage> },
    /// Executes a command that adds no message.
    Close { command: SessionCommand, cause: EventCause, reply: Reply<()> },
    /// Erases the session.
    Erase { condition: ErasureCondition, cause: EventCause, reply: Reply<Option<Position>> },
    /// Reads messages, if the caller may access the session.
    Read { query: PageQuery, reply: Reply<(SessionAccess, MessagePage)> },
    /// Forgets what the actor remembers: another node erased the session.
    Forget,
}

impl SessionOperation {
    /// Answers with an error, without executing it.
    pub(crate) fn refuse(self, error: SessionError) {
        match self {
            Self::Send { reply, .. } => drop(reply.send(Err(error))),
            Self::Close { reply, .. } => drop(reply.send(Err(error))),
            Self::Erase { reply, .. } => drop(reply.send(Err(error))),
            Self::Read { reply, .. } => drop(reply.send(Err(error))),
            Self::Forget => {}
        }
    }
}

/// An operation for the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ExecuteOperation {
    pub(crate) operation: SessionOperation,
    /// Dropped when the operation is answered. The actor must not be passivated before: its successor would read the log
    /// without the append that is underway, and answer from that. Nor before an erased session is deleted.
    pub(crate) underway: Arc<()>,
}

/// Ends the actor, whose state is in the log. Only for an actor without a [`ExecuteOperation`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PassivateSession;

/// The actor of one session.
pub(crate) struct SessionActor {
    worker: Arc<SessionWorker>,
    state: SessionState,
    /// Kept while the session is erased but not deleted, as if an operation were underway: a successor would not know it.
    stays: Option<Arc<()>>,
    /// The memory that its state takes.
    memory: Arc<SessionMemory>,
}

/// What the actor works with. It does not change.
pub(crate) struct SessionWorker {
    stream: StreamName,
    store: Arc<dyn EventStore>,
    ambient: Ambient,
    settings: SessionSettings,
    proven: ProvenUsers,
}

impl SessionActor {
    /// Starts the actor on the caller's arbiter.
    pub(crate) fn launch(worker: SessionWorker, memory: Arc<SessionMemory>) -> Addr<Self> {
        Self::create(|ctx| {
            // Not in `started`: until then a mailbox holds 16 messages, and the first burst would be refused.
            ctx.set_mailbox_capacity(MAILBOX);
            Self { worker: Arc::new(worker), state: SessionState::Unloaded, stays: None, memory }
        })
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;
}

impl Handler<ExecuteOperation> for SessionActor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(
        &mut self,
        ExecuteOperation { operation, underway }: ExecuteOperation,
        _: &mut Self::Context,
    ) -> Self::Result {
        let worker = Arc::clone(&self.worker);
        // Taken, not borrowed: when the work ends early, the state is dropped and will be read again.
        let state = std::mem::take(&mut self.state);
        let work = async move {
            let state = worker.execute_operation(state, operation).await;
            let stays = matches!(state, SessionState::Undeleted(_)).then_some(underway);
            (state, stays)
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|(state, stays), actor, _| {
            (actor.state, actor.stays) = (state, stays);
            actor.memory.set_state_bytes(actor.state.size_bytes());
        })))
    }
}

impl Handler<PassivateSession> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: PassivateSession, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl SessionWorker {
    pub(crate) fn new(
        stream: StreamName,
        store: Arc<dyn EventStore>,
        ambient: Ambient,
        settings: SessionSettings,
        proven: ProvenUsers,
    ) -> Self {
        Self { stream, store, ambient, settings, proven }
    }

    /// Executes an operation and answers it. Returns the state afterwards.
    async fn execute_operation(&self, state: SessionState, operation: SessionOperation) -> SessionState {
        let undeleted = if let SessionState::Undeleted(at) = state { Some(at) } else { None };
        let operation = match operation {
            // Before the stream is read: damage must not prevent the erasure of a visitor's data.
            SessionOperation::Erase { condition, cause, reply } => {
                let (erased, state) = self.erase(undeleted, condition, &cause).await;
                drop(reply.send(erased));
                return state;
            }
            SessionOperation::Forget => {
                return if undeleted.is_some() { state } else { SessionState::Unloaded };
            }
            other => other,
        };
        if undeleted.is_some()
            && let Err(error) = self.store.delete(self.stream.clone()).await
        {
            operation.refuse(error.into());
            return state;
        }
        let remembers = matches!(state, SessionState::Loaded(_));
        let mut loaded = match state {
            SessionState::Loaded(loaded) => loaded,
            SessionState::Unloaded | SessionState::Undeleted(_) => match self.load().await {
                Ok(loaded) => Box::new(loaded),
                Err(error) => {
                    operation.refuse(error);
                    return SessionState::Unloaded;
                }
            },
        };
        // The caller may have stopped waiting; what was appended stays.
        let unknown = match operation {
            SessionOperation::Send { command, cause, reply } => {
                let result = self.send(&mut loaded, command, &cause).await;
                let unknown = is_unknown(&result);
                drop(reply.send(result));
                unknown
            }
            SessionOperation::Close { command, cause, reply } => {
                let result = self.execute(&mut loaded, command, &cause).await.map(drop);
                let unknown = is_unknown(&result);
                drop(reply.send(result));
                unknown
            }
            SessionOperation::Erase { .. } | SessionOperation::Forget => true,
            SessionOperation::Read { query, reply } => {
                let is_outdated = remembers && self.store.is_shared();
                let current = if is_outdated { self.catch_up(&mut loaded).await } else { Ok(()) };
                let page = match current {
                    Ok(()) => self.read(&loaded, &query).await,
                    Err(error) => Err(error),
                };
                drop(reply.send(page));
                false
            }
        };
        if unknown { SessionState::Unloaded } else { SessionState::Loaded(loaded) }
    }

    async fn send(
        &self,
        loaded: &mut LoadedSession,
        command: SessionCommand,
        cause: &EventCause,
    ) -> Result<SentMessage, SessionError> {
        match self.execute(loaded, command, cause).await {
            Ok(stored) => stored.map(Arc::new).map(SentMessage::Stored).ok_or(SessionError::Gone),
            Err(SessionError::Refused(SessionRefusal::AlreadySent(first))) => {
                Ok(SentMessage::Duplicate(first))
            }
            Err(error) => Err(error),
        }
    }

    /// Decides and appends. When another writer was faster it reads what that one appended and decides again. Returns the
    /// message that was stored, if there is one.
    async fn execute(
        &self,
        loaded: &mut LoadedSession,
        mut command: SessionCommand,
        cause: &EventCause,
    ) -> Result<Option<ChatMessage>, SessionError> {
        let deadline = Instant::now() + CONFLICT_PATIENCE;
        let mut is_current = !self.store.is_shared();
        loop {
            self.check_visitor_name(&loaded.session, &mut command).await;
            let decided = loaded.session.decide(&command, self.settings.max_events);
            if decided.as_ref().map_or(true, Vec::is_empty) && !is_current {
                // Nothing is to be appended, so the log does not say whether this was decided on an outdated state.
                self.catch_up(loaded).await?;
                is_current = true;
                continue;
            }
            if matches!(&decided, Err(SessionRefusal::AlreadySent(_))) {
                self.store.confirm().await?;
            }
            let events = decided?;
            if events.is_empty() {
                self.store.confirm().await?;
                return Ok(None);
            }
            match self.append(loaded, events, cause).await {
                Err(AppendError::Conflict { .. }) if Instant::now() < deadline => {
                    self.catch_up(loaded).await?;
                    is_current = true;
                }
                result => return Ok(result?),
            }
        }
    }

    /// Finds out whether a message gives its visitor somebody else's name.
    async fn check_visitor_name(&self, session: &Session, command: &mut SessionCommand) {
        let SessionCommand::SendMessage(message) = command else { return };
        let Some(StreamKind::Session(tenant, id)) = self.stream.kind() else { return };
        if let SessionCaller::Verified(user) = &message.caller {
            self.proven.add(&tenant, user);
        }
        // The id that stands in for a missing name is no name.
        message.user_id.take_if(|user| user.is_anonymous() && *user == UserId::of_anonymous(&id));
        let taken = match session.claim(message) {
            Some(user) => self.proven.contains(&tenant, user).await,
            None => false,
        };
        message.is_taken = taken;
    }

    async fn append(
        &self,
        loaded: &mut LoadedSession,
        events: Vec<SessionEvent>,
        cause: &EventCause,
    ) -> Result<Option<ChatMessage>, AppendError> {
        let mut stored = None;
        let events: Vec<_> = events.into_iter().map(Event::Session).collect();
        let envelopes: Vec<_> = events.iter().map(|event| event.envelope(&self.ambient, cause)).collect();
        let time = envelopes.last().map(|envelope| envelope.time).unwrap_or_default();
        let expected = ExpectedVersion::Exact(loaded.session.version());
        let appended = self.store.append(self.stream.clone(), expected, envelopes).await?;
        for event in events {
            // A message is the last event of its append, so its position is the append's.
            if let Event::Session(event) = event {
                stored = loaded.apply(&event, time, appended.position);
            }
        }
        assert_eq!(
            appended.version,
            loaded.session.version(),
            "{}: the state has another version than the stream",
            self.stream
        );
        Ok(stored)
    }
}

/// Whether the log may contain events that the actor's state does not.
fn is_unknown<T>(result: &Result<T, SessionError>) -> bool {
    matches!(result, Err(SessionError::Append(_) | SessionError::Read(_)))
}
