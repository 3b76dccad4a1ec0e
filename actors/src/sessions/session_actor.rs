//! The actor of one session: it holds the fold of the session's stream and the newest messages.
//!
//! The [`crate::directory`] starts it on the session's first request and passivates it when it is idle.
//! It handles one request at a time and holds its mailbox until the append is known, so decisions
//! never interleave. When the store could not say whether an append happened, the actor forgets its
//! state and reads it again: what it believes is never ahead of the log.

use std::sync::Arc;

use actix::prelude::*;
use amoiq_events::{
    Ambient, EventStore, MessageId, Position, RecordedEvent, StreamName, Version,
    codec::{self, CodecError},
    event::{Event, EventCause},
    session::{SessionCaller, SessionCommand, SessionEvent, SessionRefusal},
    store::{AppendError, ExpectedVersion, MAX_READ_EVENTS, ReadDirection, ReadError},
};
use tokio::sync::oneshot;

use self::session_state::{LoadedSession, SessionState};
use crate::sessions::{
    proven_users::ProvenUsers,
    session_memory::SessionMemory,
    transcript::{ChatMessage, MessagePage, PageLimit, PageWindow},
};

pub use session_erasure::ErasureCondition;

mod message_reading;
mod session_erasure;
mod session_state;
mod visitor_names;

/// How many requests wait for one session; one more is refused as [`SessionError::Busy`].
const MAILBOX: usize = 2_048;

/// How often a decision is made again after another writer was faster.
const ATTEMPTS: usize = 3;

/// What operators can set.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// The most events of a session.
    pub max_events: u64,
}

/// What an accepted message became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is in the log.
    Stored(Arc<ChatMessage>),
    /// It was sent before, as this one.
    Duplicate(MessageId),
}

/// Whether a session's id opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAccess {
    /// There is no such session.
    Missing,
    /// It does.
    Granted,
    /// It is a verified user's, and this is somebody else.
    Denied,
}

/// Why a session did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// The domain says no.
    #[error(transparent)]
    Refused(#[from] SessionRefusal),
    /// Too many requests wait already. Nothing was appended.
    #[error("the session has more requests than it can hold")]
    Busy,
    /// The store did not take it. It may exist all the same, unless the error says otherwise.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The stream could not be read. Nothing was appended.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream holds what this release cannot read. Nothing was appended.
    #[error(transparent)]
    Codec(#[from] Arc<CodecError>),
    /// It is said to be erased, and its events are still there.
    #[error("a session is erased and not deleted; the next start deletes it, if nothing does before: {0}")]
    Undeleted(AppendError),
    /// The actor ended while it worked: a defect.
    #[error("the session's actor ended")]
    Gone,
}

type Reply<T> = oneshot::Sender<Result<T, SessionError>>;

/// What can be asked, with the way back of the answer.
pub(crate) enum SessionRequest {
    /// Carry out a command that adds a message.
    Send { command: SessionCommand, cause: EventCause, reply: Reply<SendOutcome> },
    /// Carry out a command that adds none.
    Close { command: SessionCommand, cause: EventCause, reply: Reply<()> },
    /// Delete the session, once its tenant's stream says so.
    Erase { meant: ErasureCondition, cause: EventCause, reply: Reply<Option<Position>> },
    /// Give messages to a caller whom the session's id opens it to.
    Read {
        caller: SessionCaller,
        window: PageWindow,
        limit: PageLimit,
        reply: Reply<(SessionAccess, MessagePage)>,
    },
}

impl SessionRequest {
    /// Answers without carrying it out.
    pub(crate) fn refuse(self, error: SessionError) {
        match self {
            Self::Send { reply, .. } => drop(reply.send(Err(error))),
            Self::Close { reply, .. } => drop(reply.send(Err(error))),
            Self::Erase { reply, .. } => drop(reply.send(Err(error))),
            Self::Read { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// A request in the actor's hands.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ServeRequest {
    pub(crate) request: SessionRequest,
    /// Let go of when the request is answered. The actor must not leave before: its successor would
    /// read the log without the append that is on its way, and answer from that. Nor before a session
    /// that is said to be erased is deleted.
    pub(crate) underway: Arc<()>,
}

/// Ends the actor: its state is in the log. Only for one without an [`ServeRequest`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PassivateSession;

/// The actor of one session.
pub(crate) struct SessionActor {
    worker: Arc<SessionWorker>,
    known: SessionState,
    /// While it is condemned, as if a request were underway: its successor would not know that it is.
    stays: Option<Arc<()>>,
    /// What all of this takes in memory.
    memory: Arc<SessionMemory>,
}

/// What the actor works with; it does not change.
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
            // Not in `started`: until then a mailbox holds 16, and the first burst would be refused.
            ctx.set_mailbox_capacity(MAILBOX);
            Self { worker: Arc::new(worker), known: SessionState::Nothing, stays: None, memory }
        })
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;
}

impl Handler<ServeRequest> for SessionActor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(
        &mut self,
        ServeRequest { request, underway }: ServeRequest,
        _: &mut Self::Context,
    ) -> Self::Result {
        let worker = Arc::clone(&self.worker);
        // Taken, not borrowed: when the work ends early, the state is gone and will be read again.
        let known = std::mem::take(&mut self.known);
        let work = async move {
            let known = worker.serve(known, request).await;
            let stays = matches!(known, SessionState::Condemned(_)).then_some(underway);
            (known, stays)
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|(known, stays), actor, _| {
            (actor.known, actor.stays) = (known, stays);
            actor.memory.holds(actor.known.size_bytes());
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

    /// Answers a request and gives back what is known of the session afterwards.
    async fn serve(&self, known: SessionState, request: SessionRequest) -> SessionState {
        let condemned = if let SessionState::Condemned(at) = known { Some(at) } else { None };
        let request = match request {
            // Before it is loaded: damage must not keep a visitor's data from being erased.
            SessionRequest::Erase { meant, cause, reply } => {
                let (erased, known) = self.erase(condemned, meant, &cause).await;
                drop(reply.send(erased));
                return known;
            }
            other => other,
        };
        if condemned.is_some()
            && let Err(error) = self.store.delete(self.stream.clone()).await
        {
            request.refuse(error.into());
            return known;
        }
        let mut loaded = match known {
            SessionState::Loaded(loaded) => loaded,
            SessionState::Nothing | SessionState::Condemned(_) => match self.load().await {
                Ok(loaded) => Box::new(loaded),
                Err(error) => {
                    request.refuse(error);
                    return SessionState::Nothing;
                }
            },
        };
        // Whoever asked may have gone: what was appended stays.
        let unknown = match request {
            SessionRequest::Send { command, cause, reply } => {
                let result = self.send(&mut loaded, command, &cause).await;
                let unknown = is_unknown(&result);
                drop(reply.send(result));
                unknown
            }
            SessionRequest::Close { command, cause, reply } => {
                let result = self.execute(&mut loaded, command, &cause).await.map(drop);
                let unknown = is_unknown(&result);
                drop(reply.send(result));
                unknown
            }
            SessionRequest::Erase { .. } => true,
            SessionRequest::Read { caller, window, limit, reply } => {
                drop(reply.send(self.read(&loaded, &caller, window, limit).await));
                false
            }
        };
        if unknown { SessionState::Nothing } else { SessionState::Loaded(loaded) }
    }

    async fn load(&self) -> Result<LoadedSession, SessionError> {
        let mut loaded = LoadedSession::default();
        loop {
            let from = loaded.session.version().plus(1);
            let events = self.events(from, ReadDirection::Forward, MAX_READ_EVENTS).await?;
            let more = events.len() == MAX_READ_EVENTS;
            for (recorded, event) in &events {
                assert_eq!(recorded.version, loaded.session.version().plus(1), "{}: a gap", self.stream);
                loaded.apply(event, recorded.event.time, recorded.position);
            }
            if !more {
                return Ok(loaded);
            }
        }
    }

    async fn events(
        &self,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> Result<Vec<(RecordedEvent, SessionEvent)>, SessionError> {
        let events = self.store.read_stream(self.stream.clone(), from, direction, limit).await?;
        let decode = |recorded: RecordedEvent| match codec::decode(&recorded) {
            Ok(Event::Session(event)) => Ok((recorded, event)),
            Ok(other) => panic!("{}: holds {}", self.stream, other.encode().0.name),
            Err(error) => Err(SessionError::Codec(Arc::new(error))),
        };
        events.into_iter().map(decode).collect()
    }

    async fn send(
        &self,
        loaded: &mut LoadedSession,
        command: SessionCommand,
        cause: &EventCause,
    ) -> Result<SendOutcome, SessionError> {
        match self.execute(loaded, command, cause).await {
            Ok(()) => match loaded.recent.range(loaded.session.last_seq(), u32::MAX) {
                Some(newest) => newest.into_iter().next().map(SendOutcome::Stored).ok_or(SessionError::Gone),
                None => Err(SessionError::Gone),
            },
            Err(SessionError::Refused(SessionRefusal::AlreadySent(first))) => {
                Ok(SendOutcome::Duplicate(first))
            }
            Err(error) => Err(error),
        }
    }

    /// Decides and appends; reads the stream and decides again when another writer was faster.
    async fn execute(
        &self,
        loaded: &mut LoadedSession,
        mut command: SessionCommand,
        cause: &EventCause,
    ) -> Result<(), SessionError> {
        let mut attempt = 1;
        loop {
            self.look_up(&loaded.session, &mut command).await;
            let events = loaded.session.decide(&command, self.settings.max_events)?;
            if events.is_empty() {
                return Ok(());
            }
            match self.append(loaded, events, cause).await {
                Err(AppendError::Conflict { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    *loaded = self.load().await?;
                }
                result => return Ok(result?),
            }
        }
    }

    async fn append(
        &self,
        loaded: &mut LoadedSession,
        events: Vec<SessionEvent>,
        cause: &EventCause,
    ) -> Result<(), AppendError> {
        let events: Vec<_> = events.into_iter().map(Event::Session).collect();
        let envelopes: Vec<_> = events.iter().map(|event| event.envelope(&self.ambient, cause)).collect();
        let time = envelopes.last().map(|envelope| envelope.time).unwrap_or_default();
        let expected = ExpectedVersion::Exact(loaded.session.version());
        let appended = self.store.append(self.stream.clone(), expected, envelopes).await?;
        for event in events {
            // A message is the last event of its append, so its position is the append's.
            if let Event::Session(event) = event {
                loaded.apply(&event, time, appended.position);
            }
        }
        assert_eq!(appended.version, loaded.session.version(), "{}: the fold is elsewhere", self.stream);
        Ok(())
    }
}

/// Whether the log may hold what the actor's state does not.
fn is_unknown<T>(result: &Result<T, SessionError>) -> bool {
    matches!(result, Err(SessionError::Append(_) | SessionError::Read(_)))
}
