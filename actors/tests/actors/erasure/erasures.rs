//! Erasing sessions, and removing old ones by the test's clock.

use std::time::Duration;

use amoiq_actors::{
    erasure,
    presence::ConnectionId,
    projections::DeadLetter,
    retention::{RetentionSettings, RetentionTask},
    sessions::PageWindow,
};
use amoiq_events::{
    Event, EventLog, RecordedEvent, StreamName,
    store::ExpectedVersion,
    tenant::{SessionErased, TenantEvent},
};

use crate::{
    erasure::given::Erasing,
    given::{DEADLINE, Given, cause, id, in_real_time, tenant},
    presence::given::visitor,
};

/// How long data are kept, by the test's clock; and how often retention runs.
const KEPT: Duration = Duration::from_millis(40);

const KEPT_MILLIS: i64 = 40;

#[test]
fn an_erased_session_is_like_one_that_never_existed_and_may_start_again() {
    in_real_time(async {
        let erasing = Erasing::new(Given::new()).await;
        let given = &erasing.given;
        given.say("a", "hello").await;
        given.say("b", "hello").await;
        erasing.came_and_went("a").await;
        erasing.came_and_went("b").await;
        let erased = erasing.eraser.erase(tenant(), vec![id("a"), id("c")], None, cause()).await;
        assert_eq!(erased.expect("erased"), [id("a")]);
        assert!(given.texts("a").await.is_empty());
        assert_eq!(given.texts("b").await, ["hello"]);
        assert_eq!(erasing.presence(&tenant()).await, [2]);
        assert!(!erasing.marker().exists());
        given.say("a", "anew").await;
        assert_eq!(given.page("a", PageWindow::Newest, 10).await.messages[0].seq, 1);
        let head = given.store.head();
        erasing.inbox.progress().reach(head, DEADLINE).await.expect("the inbox");
        let open = erasing.inbox.open_conversations(None, 10).await.expect("an answer");
        assert_eq!(open.iter().map(|open| open.session.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    });
}

#[test]
fn a_start_deletes_what_was_recorded_as_erased_and_not_what_came_after() {
    in_real_time(async {
        let given = Given::new();
        given.say("a", "before").await;
        for session in ["a", "b"] {
            let said = Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id: id(session) }));
            let said = vec![said.envelope(&given.ambient, &cause())];
            let stream = StreamName::tenant(&tenant());
            given.store.append(stream, ExpectedVersion::Any, said).await.expect("appended");
        }
        given.say("b", "after").await;
        assert_eq!(erasure::finish_erasures(&given.store).await.expect("finished"), 1);
        assert_eq!(erasure::finish_erasures(&given.store).await.expect("finished"), 0);
        let given = given.restarted();
        assert!(given.texts("a").await.is_empty());
        assert_eq!(given.texts("b").await, ["after"]);
    });
}

#[test]
fn a_dead_letter_is_removed_with_its_event() {
    in_real_time(async {
        let given = Given::new();
        given.say("a", "hello").await;
        given.say("b", "hello").await;
        let log = given.store.log().await;
        let letter = |recorded: &RecordedEvent| DeadLetter {
            projection: "elsewhere".to_owned(),
            position: recorded.position.as_u64(),
            event: recorded.event.id.to_string(),
            kind: recorded.event.kind.to_string(),
            reason: "it does not read".to_owned(),
            skipped_at: String::new(),
        };
        let letters: Vec<_> = log.iter().map(letter).collect();
        let others =
            log.iter().filter(|recorded| recorded.stream == StreamName::session(&tenant(), &id("b")));
        let others: Vec<_> = others.map(letter).collect();
        let erasing = Erasing::with_letters(given, &letters).await;
        erasing.erase(&["a"], "").await.expect("erased");
        assert_eq!(erasing.letters(), others);
        assert!(!others.is_empty() && others.len() < letters.len());
    });
}

#[test]
fn nothing_shows_afterwards_that_the_erased_were_online() {
    in_real_time(async {
        let erasing = Erasing::new(Given::new()).await;
        erasing.given.say("a", "hello").await;
        let named = async |user, session| {
            let named = erasing.presence.identify(&tenant(), ConnectionId(1), visitor(user, session)).await;
            named.expect("it is taken");
            erasing.presence.announced(&tenant(), DEADLINE).await;
        };
        named("quentina", "a").await;
        assert_eq!(erasing.presence(&tenant()).await, [1]);
        erasing.erase(&["a"], "quentina").await.expect("erased");
        assert!(erasing.presence(&tenant()).await.is_empty());
        // Her socket has another visitor now: only they are named.
        named("ann", "b").await;
        assert_eq!(erasing.presence(&tenant()).await, [3]);
    });
}

#[test]
fn many_presence_events_are_removed_in_steps() {
    in_real_time(async {
        let erasing = Erasing::new(Given::new()).await;
        for _ in 0..2_500 {
            erasing.came_and_went("other").await;
        }
        erasing.came_and_went("a").await;
        erasing.came_and_went("other").await;
        erasing.erase(&["a"], "").await.expect("erased");
        assert_eq!(erasing.given.store.truncations(), [1_001, 2_001, 2_502]);
        assert_eq!(erasing.presence(&tenant()).await, [2_502]);
    });
}

#[test]
fn only_what_is_old_is_removed() {
    in_real_time(async {
        let erasing = Erasing::new(Given::new()).await;
        let given = &erasing.given;
        for session in ["a closed", "b open", "c reopened", "d closed"] {
            given.say(session, "hello").await;
        }
        for session in ["a closed", "c reopened", "d closed"] {
            given.close(session).await;
        }
        erasing.came_and_went("a closed").await;
        given.clock.advance_millis(KEPT_MILLIS + 1);
        given.say("c reopened", "again").await;
        given.close("c reopened").await;
        erasing.came_and_went("c reopened").await;
        let settings = RetentionSettings { presence: Some(KEPT), sessions: Some(KEPT) };
        let (eraser, inbox) = (erasing.eraser.clone(), erasing.inbox.clone());
        RetentionTask::start(eraser, inbox, given.duty(), given.ambient.clone(), settings);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !given.texts("d closed").await.is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "the last session does not go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(given.texts("a closed").await.is_empty());
        assert_eq!(given.texts("b open").await, ["hello"]);
        assert_eq!(given.texts("c reopened").await, ["hello", "again"]);
        assert_eq!(erasing.presence(&tenant()).await, [2]);
    });
}
