//! The list of online users: a fold of the log, whoever wrote it and however often.

use std::{borrow::Cow, time::Duration};

use amoiq_actors::{presence::OnlineUser, projections::ViewError};
use amoiq_events::{
    Event, EventLog, MessageText, NewEvent, Position, ShortText, StreamName, Timestamp,
    node::{NodeEvent, NodeStarted},
    presence::{PresenceEvent, UserOffline, UserOnline},
    session::{MessageCreated, MessageSender, SessionEvent, VisitedPage},
    store::ExpectedVersion,
};

use crate::{
    given::{DEADLINE, cause, id, paused, tenant},
    presence::given::{GivenPresence, other_tenant, visitor},
};

const NOTHING: [&str; 0] = [];

fn online(user: &str, session: &str, connected_at: i64) -> Event {
    let visitor = visitor(user, session);
    Event::Presence(PresenceEvent::Online(UserOnline {
        user_id: visitor.user_id,
        session_id: visitor.session_id,
        connected_at: Timestamp::from_millis(connected_at),
        verified: None,
        claimed_user_id: None,
        is_told: false,
        node: None,
        domain: visitor.domain,
        origin: visitor.origin,
        url: visitor.url,
    }))
}

fn offline(user: &str, session: &str) -> Event {
    let visitor = visitor(user, session);
    let offline =
        UserOffline { user_id: visitor.user_id, session_id: visitor.session_id, verified: None, node: None };
    Event::Presence(PresenceEvent::Offline(offline))
}

fn started() -> Event {
    Event::Node(NodeEvent::Started(NodeStarted { release: "1".into() }))
}

fn message(given: &GivenPresence, sender: MessageSender, url: Option<&str>) -> Event {
    let page = |url: &str| VisitedPage { url: ShortText::cut(url), ..VisitedPage::default() };
    Event::Session(SessionEvent::MessageCreated(MessageCreated {
        message_id: given.ambient.message_id(),
        seq: 1,
        text: MessageText::parse("hello", 100).expect("a text"),
        sender,
        author: None,
        user_id: None,
        verified: None,
        claimed_user_id: None,
        sender_name: None,
        client_message_id: None,
        client_timestamp: None,
        page: url.map(page),
        conversation_id: None,
    }))
}

impl GivenPresence {
    async fn append(&self, stream: StreamName, event: &Event) {
        self.put(stream, event.envelope(&self.ambient, &cause())).await;
    }

    async fn put(&self, stream: StreamName, event: NewEvent) {
        self.store.append(stream, ExpectedVersion::Any, vec![event]).await.expect("it is appended");
    }

    async fn says(&self, event: &Event) {
        self.append(StreamName::presence(&tenant()), event).await;
    }

    async fn urls(&self) -> Vec<Option<String>> {
        let url = |user: &OnlineUser| user.url.as_ref().map(ToString::to_string);
        self.listed().await.users.iter().map(url).collect()
    }
}

#[test]
fn a_list_contains_the_newest_users_and_the_total() {
    paused(async {
        let given = GivenPresence::new();
        for number in [3, 1, 4, 2, 5] {
            given.says(&online(&format!("user {number}"), "s", number)).await;
        }
        let listed = given.online.list(&tenant(), 3, given.store.head()).await.expect("a list");
        let names: Vec<_> = listed.users.iter().map(|user| user.user_id.as_str()).collect();
        assert_eq!(names, ["user 5", "user 4", "user 3"]);
        assert_eq!(listed.total, 5);
    });
}

#[test]
fn a_start_of_the_service_leaves_nobody_online() {
    paused(async {
        let given = GivenPresence::new();
        given.says(&online("ann", "s1", 1)).await;
        given.append(StreamName::node("node"), &started()).await;
        assert_eq!(given.names().await, NOTHING);
        given.says(&online("bob", "s2", 2)).await;
        assert_eq!(given.names().await, ["bob s2"]);
    });
}

#[test]
fn events_before_the_start_are_not_read() {
    paused(async {
        let given = GivenPresence::new();
        given.says(&online("ann", "s1", 1)).await;
        let late = given.another_list(given.store.head(), DEADLINE);
        given.says(&online("bob", "s2", 2)).await;
        let listed = late.list(&tenant(), 10, given.store.head()).await.expect("a list");
        assert_eq!(listed.total, 1);
    });
}

#[test]
fn a_visitors_message_moves_them_to_its_page() {
    paused(async {
        let given = GivenPresence::new();
        let stream = StreamName::session(&tenant(), &id("s 1"));
        given.says(&online("ann", "s 1", 1)).await;
        let before = given.listed().await;
        given.append(stream.clone(), &message(&given, MessageSender::User, None)).await;
        given.append(stream.clone(), &message(&given, MessageSender::Agent, Some("https://desk/"))).await;
        let elsewhere = StreamName::session(&other_tenant(), &id("s 1"));
        given.append(elsewhere, &message(&given, MessageSender::User, Some("https://other/"))).await;
        assert_eq!(given.listed().await, before, "none of these says where the visitor is");
        given.append(stream, &message(&given, MessageSender::User, Some("https://shop/2"))).await;
        let listed = given.listed().await;
        let ann = listed.users.first().expect("ann");
        assert_eq!(ann.url, ShortText::cut("https://shop/2"));
        assert_eq!((&ann.domain, &ann.origin), (&None, &None), "the page is all that is known now");
    });
}

#[test]
fn users_of_one_session_move_together_and_leave_separately() {
    paused(async {
        let given = GivenPresence::new();
        let stream = StreamName::session(&tenant(), &id("s"));
        given.says(&online("ann", "s", 1)).await;
        given.says(&online("bob", "s", 2)).await;
        given.append(stream.clone(), &message(&given, MessageSender::User, Some("https://shop/2"))).await;
        assert_eq!(given.urls().await, [Some("https://shop/2".into()), Some("https://shop/2".into())]);
        given.says(&offline("bob", "s")).await;
        given.append(stream, &message(&given, MessageSender::User, Some("https://shop/3"))).await;
        assert_eq!(given.urls().await, [Some("https://shop/3".into())]);
    });
}

#[test]
fn a_repeated_event_changes_nothing() {
    paused(async {
        let given = GivenPresence::new();
        let stream = StreamName::session(&tenant(), &id("s1"));
        given.says(&online("ann", "s1", 1)).await;
        given.append(stream, &message(&given, MessageSender::User, Some("https://shop/2"))).await;
        given.says(&online("bob", "s2", 2)).await;
        let before = given.listed().await;
        given.says(&online("ann", "s1", 1)).await;
        given.says(&online("bob", "s2", 2)).await;
        assert_eq!(given.listed().await, before);
        given.says(&offline("ann", "s1")).await;
        given.says(&offline("ann", "s1")).await;
        given.says(&offline("never came", "s9")).await;
        assert_eq!(given.names().await, ["bob s2"]);
    });
}

#[test]
fn another_session_or_time_replaces_a_users_entry() {
    paused(async {
        let given = GivenPresence::new();
        for (session, since) in [("s1", 1), ("s2", 1), ("s2", 5), ("s3", 9)] {
            given.says(&online("ann", session, since)).await;
            let listed = given.listed().await;
            let entries: Vec<_> = listed
                .users
                .iter()
                .map(|user| (user.session_id.as_str(), user.connected_at.as_millis()))
                .collect();
            assert_eq!(entries, [(session, since)]);
        }
        let before = given.listed().await;
        let left = StreamName::session(&tenant(), &id("s1"));
        given.append(left, &message(&given, MessageSender::User, Some("https://left/"))).await;
        assert_eq!(given.listed().await, before, "they are not shown under that session any more");
    });
}

#[test]
fn an_event_of_a_newer_release_is_skipped() {
    paused(async {
        let given = GivenPresence::new();
        let known = online("ann", "s1", 1).envelope(&given.ambient, &cause());
        let stream = StreamName::presence(&tenant());
        let newer = NewEvent { kind: Cow::Borrowed("user.typing"), ..known.clone() };
        given.put(stream.clone(), NewEvent { id: given.ambient.event_id(), ..newer }).await;
        let schema = NewEvent { schema: 9, id: given.ambient.event_id(), ..known.clone() };
        given.put(stream.clone(), schema).await;
        let broken = NewEvent { data: (*b"{").into(), id: given.ambient.event_id(), ..known.clone() };
        given.put(stream.clone(), broken).await;
        given.put(stream, known).await;
        assert_eq!(given.names().await, ["ann s1"]);
    });
}

#[test]
fn a_query_waits_for_its_position_and_not_for_ever() {
    paused(async {
        let given = GivenPresence::new();
        let patience = Duration::from_secs(1);
        let online_users = given.another_list(Position::START, patience);
        given.says(&online("ann", "s1", 1)).await;
        let listed = online_users.list(&tenant(), 10, given.store.head()).await.expect("a list");
        assert_eq!(listed.total, 1);
        let after_all = Position::END;
        let behind = online_users.list(&tenant(), 10, after_all).await;
        assert!(matches!(behind, Err(ViewError::Behind)), "{behind:?}");
    });
}
