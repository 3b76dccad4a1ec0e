//! What a session's actor knows of its stream. It is taken while a request is served, and given back with what
//! is known afterwards.

use std::sync::Arc;

use amoiq_events::{
    Position, Timestamp,
    session::{Session, SessionEvent},
};

use crate::sessions::transcript::{ChatMessage, RecentMessages};

/// What the actor knows.
#[derive(Default)]
pub(super) enum SessionState {
    /// Nothing: until the stream is read, and after an append whose end is unknown.
    #[default]
    Nothing,
    /// All of it.
    Loaded(Box<LoadedSession>),
    /// It was said to be erased, there, and the store did not delete it: it serves nobody any more,
    /// and its actor stays in memory.
    Condemned(Position),
}

impl SessionState {
    /// What it takes in memory.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Condemned(_) => 0,
            Self::Loaded(loaded) => loaded.session.size_bytes() + loaded.recent.size_bytes(),
        }
    }
}

/// The fold of the stream.
#[derive(Default)]
pub(super) struct LoadedSession {
    pub(super) session: Session,
    pub(super) recent: RecentMessages,
}

impl LoadedSession {
    pub(super) fn apply(&mut self, event: &SessionEvent, time: Timestamp, position: Position) {
        self.session.apply(event);
        if let SessionEvent::MessageCreated(created) = event {
            self.recent.push(Arc::new(ChatMessage::of(created, time, position)));
        }
    }
}
