//! Whether an answer fits the log: there is a time, not before what was acknowledged when it was
//! requested and not after the answer, at which the log says exactly this.

use std::{collections::BTreeMap, sync::Arc};

use amoiq_actors::sessions::{
    ChatMessage, MessagePage, PageQuery, PageWindow, SentMessage, SessionAccess, SessionError,
};
use amoiq_events::{
    MessageId, StreamName,
    session::{MessageCreated, MessageSender, SessionCaller, SessionEvent, SessionRefusal},
    store::AppendError,
};

use crate::{
    client::Intent,
    witness::{State, Witness},
    world::World,
};

/// An append that adds a message has at most so many events.
const MOST_EVENTS: u64 = 4;

/// What was answered.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Acknowledged messages.
    pub(crate) stored: Vec<(StreamName, Arc<ChatMessage>)>,
    /// Attempts whose answer says that nothing was appended.
    pub(crate) absent: Vec<MessageId>,
    /// Up to which version clients know each session.
    known: BTreeMap<StreamName, u64>,
    /// Answers that fit no time. They are kept, because a crash drops the task that saw them.
    violations: Vec<String>,
}

pub(crate) fn assert_no_violation(ledger: &Ledger) {
    assert!(ledger.violations.is_empty(), "{}", ledger.violations.join("\n"));
}

/// What an answer to a request made now must know: what was acknowledged, and what was durable when
/// an actor got an unknown outcome.
pub(crate) fn since(world: &World, stream: &StreamName) -> u64 {
    let known = world.ledger.borrow().known.get(stream).copied().unwrap_or_default();
    world.stores.iter().map(|store| store.in_doubt(stream)).fold(known, u64::max)
}

/// Judges the answer to a try. Returns whether the client is done with it.
pub(crate) fn sent(
    world: &World,
    intent: &Intent,
    message_id: MessageId,
    since: u64,
    answer: &Result<SentMessage, SessionError>,
) -> bool {
    let stream = intent.stream();
    let absent = || world.ledger.borrow_mut().absent.push(message_id);
    match answer {
        Ok(SentMessage::Stored(message)) => {
            world.ledger.borrow_mut().stored.push((stream.clone(), Arc::clone(message)));
            let is_intended = message.id == message_id
                && message.text == intent.text
                && message.client_message_id == intent.client_id;
            knows(world, &stream, answer, |witness| {
                let version = version_of(witness, &stream, message.id)?;
                is_intended.then_some(version)
            });
        }
        Ok(SentMessage::Duplicate(first)) => {
            absent();
            knows(world, &stream, answer, |witness| {
                let mut lines = witness.lines(&stream).iter();
                let line = lines.find(|line| match &line.event {
                    SessionEvent::MessageCreated(created) => {
                        created.message_id == *first
                            && created.text == intent.text
                            && is_of_author(created, intent)
                    }
                    _ => false,
                });
                line.map(|line| line.recorded.version.as_u64())
            });
        }
        Err(SessionError::Refused(refusal)) => {
            absent();
            let limit = world.settings.session.max_events;
            knows(world, &stream, answer, |witness| {
                witness.first(&stream, since, |state| match refusal {
                    SessionRefusal::NotYours => !state.opens_to(&intent.caller),
                    SessionRefusal::Full { .. } => state.version + MOST_EVENTS > limit,
                    SessionRefusal::OtherText(first) => state.messages.iter().any(|(_, created)| {
                        created.message_id == *first
                            && created.text != intent.text
                            && is_of_author(created, intent)
                    }),
                    SessionRefusal::AlreadySent(_) | SessionRefusal::NotFound => false,
                })
            });
        }
        Err(error) => return failed(world, &stream, error, absent),
    }
    true
}

/// Whether a message has the intended client id, by the same author as far as that is known.
fn is_of_author(created: &MessageCreated, intent: &Intent) -> bool {
    let is_staff = created.sender == MessageSender::Agent;
    created.client_message_id == intent.client_id
        && is_staff == (intent.caller == SessionCaller::Staff)
        && (created.author == intent.author || created.author.is_none())
}

/// Judges the answer to a close.
pub(crate) fn closed(world: &World, stream: &StreamName, since: u64, answer: &Result<(), SessionError>) {
    let fits = |state: &State<'_>| match answer {
        Ok(()) => state.open == Some(false),
        Err(SessionError::Refused(SessionRefusal::Full { limit })) => state.version >= *limit,
        Err(_) => state.version == 0,
    };
    match answer {
        Ok(()) | Err(SessionError::Refused(_)) => {
            knows(world, stream, answer, |witness| witness.first(stream, since, fits));
        }
        Err(error) => drop(failed(world, stream, error, || ())),
    }
}

/// Judges a page.
pub(crate) fn read(
    world: &World,
    stream: &StreamName,
    since: u64,
    query: &PageQuery,
    answer: &Result<(SessionAccess, MessagePage), SessionError>,
) {
    match answer {
        Ok((access, page)) => {
            let fits = |state: &State<'_>| match access {
                SessionAccess::Missing => state.version == 0 && *page == MessagePage::default(),
                SessionAccess::Denied => !state.opens_to(&query.caller) && *page == MessagePage::default(),
                SessionAccess::Granted => {
                    state.version > 0
                        && state.opens_to(&query.caller)
                        && *page == state.page(query.window, query.limit.messages)
                }
            };
            knows(world, stream, answer, |witness| witness.first(stream, since, fits));
        }
        Err(error) => drop(failed(world, stream, error, || ())),
    }
}

/// Judges where reading reached the end of a session.
pub(crate) fn read_to_end(world: &World, stream: &StreamName, last: u32) {
    knows(world, stream, &last, |witness| {
        let lines = witness.lines(stream);
        let is_message = |event: &SessionEvent| matches!(event, SessionEvent::MessageCreated(_));
        let messages = lines.iter().filter(|line| is_message(&line.event)).count();
        (usize::try_from(last) == Ok(messages)).then_some(lines.len() as u64)
    });
}

/// Judges an error that says nothing about the session; a client that can tries again.
fn failed(world: &World, stream: &StreamName, error: &SessionError, absent: impl FnOnce()) -> bool {
    match error {
        SessionError::Append(AppendError::Unavailable(_)) => {}
        SessionError::Append(AppendError::Conflict { .. } | AppendError::Overloaded)
        | SessionError::Read(_) => absent(),
        // Nothing here fills a mailbox, is too large, panics or writes what cannot be read.
        SessionError::Append(AppendError::Size { .. })
        | SessionError::Refused(_)
        | SessionError::Busy
        | SessionError::Codec(_)
        | SessionError::Undeleted(_)
        | SessionError::Gone => {
            world.ledger.borrow_mut().violations.push(format!("{stream}: {error}"));
        }
    }
    false
}

/// Records up to which version an answer proves the session known. If it fits no version, that is a violation.
fn knows(
    world: &World,
    stream: &StreamName,
    answer: &impl std::fmt::Debug,
    proven: impl FnOnce(&Witness) -> Option<u64>,
) {
    let mut witness = world.witness.borrow_mut();
    witness.catch_up(&world.memory);
    let mut ledger = world.ledger.borrow_mut();
    match proven(&witness) {
        Some(version) => {
            let known = ledger.known.entry(stream.clone()).or_default();
            *known = version.max(*known);
        }
        None => ledger.violations.push(format!("{stream}: the log never said {answer:?}")),
    }
}

fn version_of(witness: &Witness, stream: &StreamName, id: MessageId) -> Option<u64> {
    let is_it = |event: &SessionEvent| matches!(event, SessionEvent::MessageCreated(created) if created.message_id == id);
    let line = witness.lines(stream).iter().find(|line| is_it(&line.event))?;
    Some(line.recorded.version.as_u64())
}

impl State<'_> {
    fn opens_to(&self, caller: &SessionCaller) -> bool {
        match (self.owner, caller) {
            (None, _) | (_, SessionCaller::Staff) => true,
            (Some(owner), SessionCaller::Verified(user)) => owner == user,
            (Some(_), SessionCaller::Anonymous) => false,
        }
    }

    fn page(&self, window: PageWindow, limit: u32) -> MessagePage {
        let limit = usize::try_from(limit).expect("a small number");
        let wanted = self.messages.iter().filter(|(_, created)| match window {
            PageWindow::Newest => true,
            PageWindow::Before(seq) => created.seq < seq,
            PageWindow::After(seq) => created.seq > seq,
        });
        let wanted: Vec<_> = wanted
            .map(|(recorded, created)| {
                Arc::new(ChatMessage::of(created, recorded.event.time, recorded.position))
            })
            .collect();
        let has_more = wanted.len() > limit;
        let messages = match window {
            PageWindow::After(_) => wanted.into_iter().take(limit).collect(),
            _ => wanted.iter().skip(wanted.len().saturating_sub(limit)).cloned().collect(),
        };
        MessagePage { messages, has_more, conversation: self.conversation }
    }
}
