//! What the log says of each session, folded without the code that is judged.

use std::{
    collections::BTreeMap,
    pin::pin,
    task::{Context, Poll, Waker},
};

use amoiq_actors::sessions::SessionConversation;
use amoiq_events::{
    ConversationId, Event, RecordedEvent, StreamName, Timestamp, UserId, codec,
    session::{MessageCreated, SessionEvent},
    store::{LogReader, memory::MemoryStore},
    stream::StreamKind,
};

/// An event of a session.
pub(crate) struct Line {
    pub(crate) recorded: RecordedEvent,
    pub(crate) event: SessionEvent,
}

/// The log as far as it was read.
#[derive(Default)]
pub(crate) struct Witness {
    pub(crate) log: Vec<RecordedEvent>,
    pub(crate) sessions: BTreeMap<StreamName, Vec<Line>>,
}

/// A session after some of its events.
#[derive(Clone, Default)]
pub(crate) struct State<'a> {
    pub(crate) version: u64,
    pub(crate) owner: Option<&'a UserId>,
    /// Nothing before the first message.
    pub(crate) open: Option<bool>,
    /// The session's conversation, as its readers are told.
    pub(crate) conversation: Option<SessionConversation>,
    pub(crate) messages: Vec<(&'a RecordedEvent, &'a MessageCreated)>,
}

impl Witness {
    /// Reads what was appended since.
    pub(crate) fn catch_up(&mut self, store: &MemoryStore) {
        let after = self.log.last().map(|last| last.position).unwrap_or_default();
        let mut events = LogReader::all(store, after);
        while let Some(recorded) = now(events.next_event()).expect("memory can be read") {
            self.log.push(recorded.clone());
            let kind = recorded.stream.kind().expect("a name that means something");
            let event = codec::decode(&recorded).expect("an event of this release");
            let (StreamKind::Session(..), Event::Session(event)) = (kind, event) else {
                panic!("{}: holds what is not a session's", recorded.stream)
            };
            self.sessions.entry(recorded.stream.clone()).or_default().push(Line { recorded, event });
        }
    }

    pub(crate) fn lines(&self, stream: &StreamName) -> &[Line] {
        self.sessions.get(stream).map(Vec::as_slice).unwrap_or_default()
    }

    /// The first version from `since` on at which a session was in a state that fits.
    pub(crate) fn first(
        &self,
        stream: &StreamName,
        since: u64,
        fits: impl Fn(&State<'_>) -> bool,
    ) -> Option<u64> {
        let mut state = State::default();
        let mut lines = self.lines(stream).iter();
        loop {
            if state.version >= since && fits(&state) {
                return Some(state.version);
            }
            state.apply(lines.next()?);
        }
    }
}

impl<'a> State<'a> {
    pub(crate) fn apply(&mut self, line: &'a Line) {
        self.version = line.recorded.version.as_u64();
        match &line.event {
            SessionEvent::Started(_) => {}
            SessionEvent::VisitorIdentified(told) => {
                if told.verified && self.owner.is_none() {
                    self.owner = told.user_id.as_ref();
                }
            }
            SessionEvent::ConversationStarted(_) => {
                self.open = Some(true);
                let id = ConversationId::from(line.recorded.event.id);
                self.conversation = Some(SessionConversation { id, closed_at: None });
            }
            SessionEvent::ConversationReopened(reopened) => {
                self.open = Some(true);
                self.closed_at(reopened.conversation_id, None);
            }
            SessionEvent::ConversationClosed(closed) => {
                self.open = Some(false);
                self.closed_at(closed.conversation_id, Some(line.recorded.event.time));
            }
            SessionEvent::MessageCreated(created) => self.messages.push((&line.recorded, created)),
        }
    }
}

impl State<'_> {
    fn closed_at(&mut self, named: Option<ConversationId>, closed_at: Option<Timestamp>) {
        let conversation = self.conversation.as_mut().expect("it started");
        assert_eq!(named, Some(conversation.id), "an event names its conversation");
        conversation.closed_at = closed_at;
    }
}

/// The answer of a store that never waits.
fn now<T>(pending: impl Future<Output = T>) -> T {
    match pin!(pending).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the store in memory answers at once"),
    }
}
