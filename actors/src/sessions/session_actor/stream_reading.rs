//! Reading the session's stream: all of it, or what was appended since the actor read it.
//!
//! Where other nodes append to the log too, what the actor remembers may be outdated. An append that follows from it is
//! then refused by the log, which knows the stream's version. Whatever else is answered is read from the log first: a page
//! of messages, and a refusal.

use amoiq_events::{
    Event, RecordedEvent, Version, codec,
    session::SessionEvent,
    store::{MAX_READ_EVENTS, ReadDirection, ReadError},
};

use std::sync::Arc;

use super::{LoadedSession, SessionError, SessionWorker};

/// Why a session cannot be read whose first events are gone: they are removed oldest first.
const BEING_DELETED: &str = "the session is being deleted";

impl SessionWorker {
    /// Reads the whole stream.
    pub(super) async fn load(&self) -> Result<LoadedSession, SessionError> {
        let mut loaded = LoadedSession::default();
        self.read_rest(&mut loaded).await?;
        Ok(loaded)
    }

    /// Reads what others appended since. The newest event that is known comes again: when it does not, the session was
    /// erased meanwhile, and perhaps another one has started under its id.
    pub(super) async fn catch_up(&self, loaded: &mut LoadedSession) -> Result<(), SessionError> {
        let known = loaded.session.version();
        if known == Version::NONE {
            return self.read_rest(loaded).await;
        }
        let events = self.events(known, ReadDirection::Forward, MAX_READ_EVENTS).await?;
        match events.split_first() {
            Some(((first, _), later)) if first.position == loaded.last_position => {
                self.apply(loaded, later)?;
                if events.len() == MAX_READ_EVENTS { self.read_rest(loaded).await } else { Ok(()) }
            }
            _ => {
                *loaded = self.load().await?;
                Ok(())
            }
        }
    }

    async fn read_rest(&self, loaded: &mut LoadedSession) -> Result<(), SessionError> {
        loop {
            let from = loaded.session.version().next();
            let events = self.events(from, ReadDirection::Forward, MAX_READ_EVENTS).await?;
            self.apply(loaded, &events)?;
            if events.len() < MAX_READ_EVENTS {
                return Ok(());
            }
        }
    }

    fn apply(
        &self,
        loaded: &mut LoadedSession,
        events: &[(RecordedEvent, SessionEvent)],
    ) -> Result<(), SessionError> {
        for (recorded, event) in events {
            if recorded.version != loaded.session.version().next() {
                assert!(self.store.is_shared(), "{}: a gap", self.stream);
                return Err(ReadError::Unavailable(BEING_DELETED.to_owned()).into());
            }
            loaded.apply(event, recorded.event.time, recorded.position);
        }
        Ok(())
    }

    pub(super) async fn events(
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
}
