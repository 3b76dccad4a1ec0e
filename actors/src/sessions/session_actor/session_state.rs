//! The state of a session's actor. A request takes it and returns the state afterwards.

use amoiq_events::{
    Position, Timestamp,
    session::{Session, SessionEvent},
};

use crate::sessions::{recent_messages::RecentMessages, transcript::ChatMessage};

/// What the actor knows of its stream.
#[derive(Default)]
pub(super) enum SessionState {
    /// Nothing: before the stream is read, and after an append whose outcome is unknown.
    #[default]
    Unloaded,
    /// All of it.
    Loaded(Box<LoadedSession>),
    /// The event at this position records its erasure, and the store did not delete it. It serves no request, and its
    /// actor stays in memory.
    Undeleted(Position),
}

impl SessionState {
    /// The memory that it takes.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Unloaded | Self::Undeleted(_) => 0,
            Self::Loaded(loaded) => loaded.session.size_bytes() + loaded.recent.size_bytes(),
        }
    }
}

/// The state folded from the stream, and its newest messages.
#[derive(Default)]
pub(super) struct LoadedSession {
    pub(super) session: Session,
    pub(super) recent: RecentMessages,
    /// The position of its newest event.
    pub(super) last_position: Position,
    /// When its conversation was closed; `None` while it is open.
    pub(super) closed_at: Option<Timestamp>,
}

impl LoadedSession {
    /// Applies an event. Returns the message that it recorded, if it did.
    pub(super) fn apply(
        &mut self,
        event: &SessionEvent,
        time: Timestamp,
        position: Position,
    ) -> Option<ChatMessage> {
        self.session.apply(event);
        self.last_position = position;
        match event {
            SessionEvent::ConversationClosed(_) => self.closed_at = Some(time),
            SessionEvent::ConversationReopened(_) => self.closed_at = None,
            _ => {}
        }
        let SessionEvent::MessageCreated(created) = event else { return None };
        let message = ChatMessage::of(created, time, position);
        self.recent.push(&message);
        Some(message)
    }
}
