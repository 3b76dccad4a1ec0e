//! What must hold of the log, and of everything that was acknowledged.

use std::collections::{BTreeSet, HashMap, HashSet};

use amoiq_actors::sessions::ChatMessage;
use amoiq_events::{
    Position, StreamName,
    session::{MessageCreated, SessionEvent},
    stream::StreamKind,
};

use crate::{
    judge::Ledger,
    witness::{Line, State, Witness},
};

/// Versions and `seq` have no gaps, client ids are unique, a conversation opens before it
/// closes, and everything is where it belongs.
pub(crate) fn assert_log(witness: &Witness, max_events: u64) {
    let mut last = Position::START;
    let mut event_ids = HashSet::new();
    for recorded in &witness.log {
        assert!(recorded.position > last, "positions rise");
        assert!(event_ids.insert(recorded.event.id), "an event is in the log once");
        last = recorded.position;
    }
    let mut message_ids = HashSet::new();
    for (stream, lines) in &witness.sessions {
        // A full session can still be closed.
        let is_closed = matches!(lines.last(), Some(Line { event: SessionEvent::ConversationClosed(_), .. }));
        let most = max_events + u64::from(is_closed);
        assert!(lines.len() as u64 <= most, "{stream}: more events than it may have");
        let mut client_ids = BTreeSet::new();
        let mut state = State::default();
        for line in lines {
            assert_line(stream, line, &state);
            state.apply(line);
            if let SessionEvent::MessageCreated(created) = &line.event {
                assert_eq!(created.seq as usize, state.messages.len(), "{stream}: seq counts 1, 2, 3");
                assert!(message_ids.insert(created.message_id), "{stream}: a message is in the log once");
                if let Some(id) = &created.client_message_id {
                    let author = format!("{:?} {:?}", created.sender, created.author);
                    assert!(client_ids.insert((author, id.as_str())), "{stream}: {id} is two messages");
                }
            }
        }
    }
}

/// An event after what came before it.
fn assert_line(stream: &StreamName, line: &Line, before: &State<'_>) {
    let version = line.recorded.version.as_u64();
    assert_eq!(version, before.version + 1, "{stream}: versions count 1, 2, 3");
    match &line.event {
        SessionEvent::Started(_) => assert_eq!(version, 1, "{stream}: it starts once"),
        SessionEvent::VisitorIdentified(told) if told.verified => {
            let is_first = before.owner.is_none_or(|owner| told.user_id.as_ref() == Some(owner));
            assert!(is_first, "{stream}: it has another owner");
        }
        SessionEvent::VisitorIdentified(_) => {}
        SessionEvent::ConversationStarted(_) => assert_eq!(before.open, None, "{stream}"),
        SessionEvent::ConversationReopened(_) => assert_eq!(before.open, Some(false), "{stream}"),
        SessionEvent::ConversationClosed(_) => assert_eq!(before.open, Some(true), "{stream}"),
        SessionEvent::MessageCreated(created) => {
            assert_eq!(before.open, Some(true), "{stream}: a message opens the conversation");
            let mut parts = created.text.as_str().split('|');
            let Some(StreamKind::Session(tenant, session)) = stream.kind() else { panic!("{stream}") };
            assert_eq!(parts.next(), Some(tenant.as_str()), "{stream}: it is of another tenant");
            assert_eq!(parts.next(), Some(session.as_str()), "{stream}: it is of another session");
            let author = parts.next();
            let may_write =
                before.owner.is_none_or(|owner| author == Some(owner.as_str()) || author == Some("staff"));
            assert!(may_write, "{stream}: {author:?} wrote to a session of {:?}", before.owner);
            assert_name(stream, created, before);
        }
    }
}

/// A name is the owner's or a claim, and a claim to somebody else's name is not shown.
fn assert_name(stream: &StreamName, created: &MessageCreated, before: &State<'_>) {
    let MessageCreated { user_id, verified, claimed_user_id, .. } = created;
    assert_eq!(*verified == Some(true), before.owner.is_some(), "{stream}: who is verified owns the session");
    assert_eq!(verified.is_some(), user_id.is_some(), "{stream}: a name is proven or claimed");
    assert!(before.owner.is_none() || before.owner == user_id.as_ref(), "{stream}: it is the owner's");
    assert!(claimed_user_id.is_none() || user_id.is_none(), "{stream}: a visitor has one name");
}

/// What was acknowledged is in the log unchanged; what was refused is not.
pub(crate) fn assert_kept(witness: &Witness, ledger: &Ledger) {
    let mut messages = HashMap::new();
    for (stream, lines) in &witness.sessions {
        for line in lines {
            if let SessionEvent::MessageCreated(created) = &line.event {
                messages.insert(created.message_id, (stream, line, created));
            }
        }
    }
    for (stream, message) in &ledger.stored {
        let Some((found_in, line, created)) = messages.get(&message.id) else {
            panic!("{stream}: an acknowledged message is not in the log")
        };
        assert_eq!(*found_in, stream, "an acknowledged message is elsewhere");
        let recorded = &line.recorded;
        assert_eq!(**message, ChatMessage::of(created, recorded.event.time, recorded.position));
    }
    for id in &ledger.absent {
        assert!(!messages.contains_key(id), "{id} is in the log and was said not to be");
    }
}
