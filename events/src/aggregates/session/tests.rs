//! Given a session's history, when a command comes, then these events follow.

use uuid::Uuid;

use super::*;

const LIMIT: u64 = 50_000;

fn given(events: &[SessionEvent]) -> Session {
    let mut session = Session::default();
    events.iter().for_each(|event| session.apply(event));
    session
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn message(number: u128) -> SendMessage {
    SendMessage {
        message_id: MessageId::from_uuid(Uuid::from_u128(number)),
        caller: SessionCaller::Anonymous,
        sender: MessageSender::User,
        author: None,
        text: MessageText::parse("hello", 10).unwrap(),
        sender_name: None,
        client_message_id: None,
        client_timestamp: None,
        user_id: None,
        is_taken: false,
        user_info: None,
        fingerprint: None,
        page: VisitedPage::default(),
        conversation_id: ConversationId::from_uuid(Uuid::from_u128(number)),
    }
}

fn with_client_id(number: u128, id: &str) -> SendMessage {
    SendMessage { client_message_id: Some(ClientMessageId::parse(id).unwrap()), ..message(number) }
}

fn send(session: &Session, message: SendMessage) -> Result<Vec<SessionEvent>, SessionRefusal> {
    session.decide(&SessionCommand::SendMessage(Box::new(message)), LIMIT)
}

/// Sends, takes in what follows, and names the types of it.
fn then(session: &mut Session, message: SendMessage) -> Vec<&'static str> {
    let events = send(session, message).unwrap();
    events.iter().for_each(|event| session.apply(event));
    events.iter().map(name).collect()
}

fn name(event: &SessionEvent) -> &'static str {
    match event {
        SessionEvent::Started(_) => "started",
        SessionEvent::VisitorIdentified(_) => "identified",
        SessionEvent::ConversationStarted(_) => "conversation started",
        SessionEvent::MessageCreated(_) => "message",
        SessionEvent::ConversationClosed(_) => "closed",
        SessionEvent::ConversationReopened(_) => "reopened",
    }
}

fn close(session: &mut Session) -> Result<usize, SessionRefusal> {
    let events = session.decide(&SessionCommand::CloseConversation(ConversationCloseReason::Agent), LIMIT)?;
    events.iter().for_each(|event| session.apply(event));
    Ok(events.len())
}

#[test]
fn the_first_message_starts_the_session_and_its_conversation() {
    let mut session = given(&[]);
    assert_eq!(then(&mut session, message(1)), ["started", "conversation started", "message"]);
    assert_eq!(then(&mut session, message(2)), ["message"]);
    assert_eq!(session.last_seq(), 2);
}

#[test]
fn a_closed_conversation_reopens_on_a_new_message() {
    let mut session = given(&[]);
    then(&mut session, message(1));
    assert_eq!(close(&mut session), Ok(1));
    assert_eq!(session.conversation(), ConversationState::Closed);
    assert_eq!(close(&mut session), Ok(0));
    assert_eq!(then(&mut session, message(2)), ["reopened", "message"]);
    assert_eq!(session.conversation(), ConversationState::Open);
}

#[test]
fn a_session_that_does_not_exist_cannot_be_closed() {
    assert_eq!(close(&mut given(&[])), Err(SessionRefusal::NotFound));
}

#[test]
fn a_repeated_client_id_is_answered_with_the_first_message() {
    let mut session = given(&[]);
    then(&mut session, with_client_id(1, "c-1"));
    then(&mut session, with_client_id(2, "c-2"));
    let first = MessageId::from_uuid(Uuid::from_u128(1));
    assert_eq!(send(&session, with_client_id(3, "c-1")), Err(SessionRefusal::AlreadySent(first)));
}

fn agents(number: u128, author: Option<AgentAuthor>, text: &str) -> SendMessage {
    let (caller, sender) = (SessionCaller::Staff, MessageSender::Agent);
    let text = MessageText::parse(text, 10).unwrap();
    SendMessage { caller, sender, author, text, ..with_client_id(number, "c-1") }
}

#[test]
fn a_client_id_is_unique_for_each_author() {
    let mut session = given(&[]);
    let ann = || Some(AgentAuthor::Token(user("ann")));
    let bot = |number| SendMessage { sender: MessageSender::Bot, ..agents(number, None, "hello") };
    then(&mut session, with_client_id(1, "c-1"));
    let authors = [ann(), Some(AgentAuthor::Token(user("bob"))), Some(AgentAuthor::Sender(user("ann")))];
    for (author, number) in authors.into_iter().chain([Some(AgentAuthor::Key)]).zip(2..) {
        assert_eq!(then(&mut session, agents(number, author, "hello")), ["message"]);
    }
    assert_eq!(then(&mut session, bot(6)), ["message"]);
    let first = |number| Err(SessionRefusal::AlreadySent(MessageId::from_uuid(Uuid::from_u128(number))));
    assert_eq!(send(&session, with_client_id(9, "c-1")), first(1));
    assert_eq!(send(&session, agents(9, ann(), "hello")), first(2));
    assert_eq!(send(&session, agents(9, Some(AgentAuthor::Key), "hello")), first(5));
    assert_eq!(send(&session, bot(9)), first(6));
}

#[test]
fn a_client_id_with_another_text_is_refused() {
    let mut session = given(&[]);
    then(&mut session, with_client_id(1, "c-1"));
    let first = MessageId::from_uuid(Uuid::from_u128(1));
    for text in ["hello!", "hello ", " hello", "HELLO"] {
        let other = SendMessage { text: MessageText::parse(text, 10).unwrap(), ..with_client_id(2, "c-1") };
        assert_eq!(send(&session, other), Err(SessionRefusal::OtherText(first)), "{text:?}");
    }
}

#[test]
fn an_agents_message_without_a_recorded_author_counts_for_every_agent() {
    let mut session = given(&[]);
    then(&mut session, agents(1, None, "hello"));
    let first = MessageId::from_uuid(Uuid::from_u128(1));
    for author in [AgentAuthor::Token(user("ann")), AgentAuthor::Key] {
        let again = agents(2, Some(author.clone()), "hello");
        assert_eq!(send(&session, again), Err(SessionRefusal::AlreadySent(first)));
        let other = agents(2, Some(author), "other");
        assert_eq!(send(&session, other), Err(SessionRefusal::OtherText(first)));
    }
    assert_eq!(then(&mut session, with_client_id(3, "c-1")), ["message"], "a visitor is another author");
}

#[test]
fn a_message_finds_its_version_whatever_stands_between() {
    let mut session = given(&[]);
    then(&mut session, message(1));
    then(&mut session, message(2));
    close(&mut session).unwrap();
    then(&mut session, message(3));
    then(&mut session, message(4));
    let versions = [0, 1, 2, 3, 4, 5].map(|seq| session.version_of(seq).map(Version::as_u64));
    assert_eq!(versions, [None, Some(3), Some(4), Some(7), Some(8), None]);
}

#[test]
fn a_full_session_refuses_and_an_event_less_fits() {
    let mut session = given(&[]);
    then(&mut session, message(1));
    let next = SessionCommand::SendMessage(Box::new(message(2)));
    assert_eq!(session.decide(&next, 4).map(|events| events.len()), Ok(1));
    assert_eq!(session.decide(&next, 3), Err(SessionRefusal::Full { limit: 3 }));
}

#[test]
fn a_full_session_is_closed_all_the_same_and_stays_closed() {
    let mut session = given(&[]);
    then(&mut session, message(1));
    let closing = SessionCommand::CloseConversation(ConversationCloseReason::Agent);
    let closed = session.decide(&closing, 3).unwrap();
    assert_eq!(closed.len(), 1);
    closed.iter().for_each(|event| session.apply(event));
    assert_eq!(session.decide(&closing, 3), Ok(Vec::new()));
    let next = SessionCommand::SendMessage(Box::new(message(2)));
    assert_eq!(session.decide(&next, 3), Err(SessionRefusal::Full { limit: 3 }));
}

#[test]
fn a_session_that_a_verified_user_used_is_theirs() {
    let mut session = given(&[]);
    then(&mut session, message(1));
    let verified = |id| SendMessage { caller: SessionCaller::Verified(user(id)), ..message(2) };
    assert_eq!(then(&mut session, verified("ann")), ["identified", "message"]);
    assert_eq!(then(&mut session, verified("ann")), ["message"]);
    assert_eq!(send(&session, verified("bob")), Err(SessionRefusal::NotYours));
    assert_eq!(send(&session, message(3)), Err(SessionRefusal::NotYours));
    let staff = SendMessage { caller: SessionCaller::Staff, sender: MessageSender::Agent, ..message(4) };
    assert_eq!(then(&mut session, staff), ["message"]);
}

#[test]
fn a_claim_becomes_a_proof_only_through_a_verified_token() {
    let mut session = given(&[]);
    then(&mut session, SendMessage { user_id: Some(user("ann")), ..message(1) });
    assert!(session.opens_to(&SessionCaller::Anonymous));
    then(&mut session, SendMessage { caller: SessionCaller::Verified(user("ann")), ..message(2) });
    assert!(!session.opens_to(&SessionCaller::Anonymous));
}

#[test]
fn what_is_told_again_of_the_visitor_is_not_stored_again() {
    let info = || serde_json::value::to_raw_value(&serde_json::json!({"name": "Ann"})).ok();
    let told = |n| SendMessage { fingerprint: ShortText::cut("f1"), user_info: info(), ..message(n) };
    let mut session = given(&[]);
    assert_eq!(then(&mut session, told(1)), ["started", "identified", "conversation started", "message"]);
    assert_eq!(then(&mut session, told(2)), ["message"]);
}

#[test]
fn the_page_is_stored_when_it_changed() {
    let at = |url| VisitedPage { url: ShortText::cut(url), ..VisitedPage::default() };
    let mut session = given(&[]);
    let mut stored = |page| {
        let events = send(&session, SendMessage { page, ..message(1) }).unwrap();
        events.iter().for_each(|event| session.apply(event));
        let Some(SessionEvent::MessageCreated(created)) = events.last() else { panic!("no message") };
        created.page.is_some()
    };
    assert!(stored(at("/a")));
    assert!(!stored(at("/a")));
    assert!(!stored(VisitedPage::default()));
    assert!(stored(at("/b")));
}

#[test]
fn an_agents_message_carries_the_visitors_user_id() {
    let mut session = given(&[]);
    then(&mut session, SendMessage { user_id: Some(user("ann")), ..message(1) });
    let events = send(
        &session,
        SendMessage { caller: SessionCaller::Staff, sender: MessageSender::Agent, ..message(2) },
    );
    let Some(SessionEvent::MessageCreated(created)) = events.unwrap().pop() else { panic!("no message") };
    assert_eq!((created.user_id, created.sender), (Some(user("ann")), MessageSender::Agent));
}
