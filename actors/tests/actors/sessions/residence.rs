//! Which sessions are in memory: idle ones are passivated, the least recently used are evicted when there are too
//! many, and callers never notice.

use std::{sync::Arc, time::Duration};

use amoiq_actors::sessions::{ErasureCondition, SentMessage, SessionError};
use amoiq_events::EventLog;
use amoiq_testkit::stores::ScriptedAppend;
use tokio::{sync::Notify, task::spawn_local, time::sleep};

use crate::given::{Given, cause, id, paused, tenant};

const MINUTE: Duration = Duration::from_secs(60);

/// The fewest sessions that a directory can be limited to.
const MAX_SESSIONS: usize = 8;

#[test]
fn an_idle_session_leaves_memory_and_returns_with_the_same_answers() {
    paused(async {
        let given = Given::with(1_000, MINUTE);
        given.say("s", "one").await;
        given.send("s", "c2", "two").await.expect("it is stored");
        let before = given.texts("s").await;
        let reads = given.store.reads();
        sleep(MINUTE / 2).await;
        assert_eq!(given.texts("s").await, before);
        assert_eq!(given.store.reads(), reads, "it was used half a minute ago, and stays");
        sleep(2 * MINUTE).await;
        assert_eq!(given.texts("s").await, before);
        assert!(given.store.reads() > reads, "it left, and the log was read again");
        let repeated = given.send("s", "c2", "two").await.expect("it is answered");
        assert!(matches!(repeated, SentMessage::Duplicate(_)));
    });
}

#[test]
fn the_least_recently_used_session_is_evicted_when_there_are_too_many() {
    paused(async {
        let given = Given::with(MAX_SESSIONS, 60 * MINUTE);
        for number in 0..MAX_SESSIONS {
            given.say(&format!("s{number}"), "hello").await;
            sleep(Duration::from_millis(1)).await;
        }
        given.texts("s0").await;
        given.say("one more", "hello").await;
        let reads = given.store.reads();
        for name in ["s0", "s2", "s7", "one more"] {
            given.texts(name).await;
        }
        assert_eq!(given.store.reads(), reads, "these were used later and stay");
        given.texts("s1").await;
        assert!(given.store.reads() > reads, "this one was used longest ago and left");
    });
}

#[test]
fn more_sessions_than_fit_in_memory_are_all_answered() {
    paused(async {
        let given = Given::with(MAX_SESSIONS, 60 * MINUTE);
        let say = |number: usize| {
            let given = given.clone();
            spawn_local(async move { given.say(&format!("s{number}"), &format!("hello {number}")).await })
        };
        for sent in (0..20 * MAX_SESSIONS).map(say).collect::<Vec<_>>() {
            sent.await.expect("a send ends");
        }
        for number in 0..20 * MAX_SESSIONS {
            assert_eq!(given.texts(&format!("s{number}")).await, [format!("hello {number}")]);
        }
    });
}

#[test]
fn a_session_with_a_request_underway_stays_for_any_time() {
    paused(async {
        let given = Given::with(1_000, MINUTE);
        given.say("s", "one").await;
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::Held(Arc::clone(&may)));
        let other = given.clone();
        let slow = spawn_local(async move { other.say("s", "two").await });
        sleep(5 * MINUTE).await;
        // A successor would read the log now, without the message that is underway.
        let other = given.clone();
        let waiting = spawn_local(async move { other.texts("s").await });
        sleep(Duration::from_secs(1)).await;
        may.notify_one();
        slow.await.expect("it is stored");
        assert_eq!(waiting.await.expect("it is answered"), ["one", "two"]);
        assert_eq!(given.texts("s").await, ["one", "two"], "acknowledged, so it is in the next read");
    });
}

#[test]
fn an_erased_session_stays_in_memory_until_it_is_deleted() {
    paused(async {
        let given = Given::with(MAX_SESSIONS, MINUTE);
        given.say("s", "before").await;
        let condition = ErasureCondition::StartedBy(given.store.head());
        given.store.refuse_removals(usize::MAX);
        let erased = given.directory.erase(&tenant(), &id("s"), condition, cause()).await;
        assert!(matches!(erased, Err(SessionError::Undeleted(_))), "{erased:?}");
        sleep(5 * MINUTE).await;
        for number in 0..2 * MAX_SESSIONS {
            given.say(&format!("s{number}"), "hello").await;
        }
        // A successor would serve what is erased, and the next start would delete what it accepts.
        let sent = given.send("s", "", "lost").await;
        assert!(matches!(sent, Err(SessionError::Append(_))), "{sent:?}");
        given.store.refuse_removals(0);
        given.say("s", "anew").await;
        let reads = given.store.reads();
        sleep(5 * MINUTE).await;
        assert_eq!(given.texts("s").await, ["anew"]);
        assert!(given.store.reads() > reads, "it is one like any other now, and left");
    });
}
