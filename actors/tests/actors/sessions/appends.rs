//! Outcomes of an append: panics, conflicts, unknown outcomes, full mailboxes.

use std::{sync::Arc, time::Duration};

use amoiq_actors::sessions::{ErasureCondition, SentMessage, SessionError};
use amoiq_events::{EventLog, store::AppendError};
use amoiq_testkit::stores::ScriptedAppend;
use tokio::{sync::Notify, task::spawn_local, time::Instant};

use crate::given::{Given, cause, id, paused, tenant};

/// More requests than a session's mailbox holds.
const MORE_THAN_FIT: usize = 3_000;

#[test]
fn a_session_whose_actor_panicked_serves_the_next_request_and_lost_nothing() {
    paused(async {
        let given = Given::new();
        given.say("s", "one").await;
        given.store.next(ScriptedAppend::Panics);
        let answer = given.send("s", "c2", "two").await;
        assert!(matches!(answer, Err(SessionError::Gone)), "{answer:?}");
        assert!(matches!(given.send("s", "c2", "two").await, Ok(SentMessage::Stored(_))));
        given.say("s", "three").await;
        assert_eq!(given.texts("s").await, ["one", "two", "three"]);
    });
}

#[test]
fn a_panic_in_one_session_does_not_affect_the_others() {
    paused(async {
        let given = Given::new();
        given.say("other", "one").await;
        given.store.next(ScriptedAppend::Panics);
        drop(given.send("s", "", "lost").await);
        let reads = given.store.reads();
        assert_eq!(given.texts("other").await, ["one"]);
        assert_eq!(given.store.reads(), reads, "it was in memory all the time");
    });
}

#[test]
fn a_thousand_concurrent_sends_of_one_client_id_are_one_message() {
    paused(async {
        let given = Given::new();
        let sends: Vec<_> = (0..1_000).map(|_| spawn_local(send(given.clone(), "same"))).collect();
        let (mut stored, mut repeated) = (Vec::new(), Vec::new());
        for sent in sends {
            match sent.await.expect("a send ends").expect("it is answered") {
                SentMessage::Stored(message) => stored.push(message.id),
                SentMessage::Duplicate(first) => repeated.push(first),
            }
        }
        assert_eq!((stored.len(), repeated.len()), (1, 999));
        assert!(repeated.iter().all(|first| stored.contains(first)));
        assert_eq!(given.stored().await.len(), 1);
    });
}

#[test]
fn a_full_mailbox_refuses_with_busy_and_nothing_is_in_the_log() {
    paused(async {
        let given = Given::new();
        given.say("s", "first").await;
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::Held(Arc::clone(&may)));
        let sends: Vec<_> = (0..MORE_THAN_FIT).map(|_| spawn_local(send(given.clone(), ""))).collect();
        tokio::task::yield_now().await;
        may.notify_one();
        let (mut stored, mut busy) = (0, 0);
        for sent in sends {
            match sent.await.expect("a send ends") {
                Ok(SentMessage::Stored(_)) => stored += 1,
                Err(SessionError::Busy) => busy += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(busy > 0 && stored > 0, "{busy} were busy, {stored} stored");
        assert_eq!(given.stored().await.len(), 1 + stored);
        given.say("s", "last").await;
    });
}

#[test]
fn a_conflict_with_another_writer_is_decided_again() {
    paused(async {
        let given = Given::new();
        given.say("s", "one").await;
        given.store.next(ScriptedAppend::After(given.others_message(2, "").1));
        given.say("s", "three").await;
        assert_eq!(given.texts("s").await, ["one", "from elsewhere", "three"]);
        let seqs: Vec<_> = given.stored().await.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
    });
}

#[test]
fn a_message_that_another_writer_stored_first_is_a_duplicate_of_that_one() {
    paused(async {
        let given = Given::new();
        given.say("s", "one").await;
        let (first, events) = given.others_message(2, "same");
        given.store.next(ScriptedAppend::After(events));
        let answer = given.send("s", "same", "from elsewhere").await.expect("it is answered");
        assert_eq!(answer, SentMessage::Duplicate(first));
        assert_eq!(given.stored().await.len(), 2);
    });
}

#[test]
fn a_message_is_decided_again_however_often_another_writer_is_faster() {
    paused(async {
        let given = Given::new();
        given.say("s", "one").await;
        for seq in 2..202 {
            given.store.next(ScriptedAppend::After(given.others_message(seq, "").1));
        }
        let reads = given.store.reads();
        given.say("s", "last").await;
        assert_eq!(given.store.reads(), reads + 200, "each time it reads what is new, at once");
        let stored = given.stored().await;
        assert!(stored.iter().zip(1..).all(|(message, seq)| message.seq == seq));
        assert_eq!(stored.len(), 202);
    });
}

#[test]
fn a_session_that_always_has_conflicts_gives_up_after_ten_seconds_and_appends_nothing() {
    paused(async {
        let given = Given::new();
        given.say("s", "one").await;
        given.store.always(ScriptedAppend::Conflicts(Duration::from_secs(1)));
        let started = Instant::now();
        let answer = given.send("s", "", "never").await;
        let is_conflict = matches!(answer, Err(SessionError::Append(AppendError::Conflict { .. })));
        assert!(is_conflict, "{answer:?}");
        assert_eq!(started.elapsed().as_secs(), 10);
        assert_eq!(given.texts("s").await, ["one"]);
    });
}

#[test]
fn a_message_that_was_durable_after_an_error_is_found_by_the_retry() {
    paused(async {
        let given = Given::new();
        given.say("s", "one").await;
        given.store.next(ScriptedAppend::DurableButUnknown);
        let answer = given.send("s", "c2", "two").await;
        assert!(matches!(answer, Err(SessionError::Append(AppendError::Unavailable(_)))), "{answer:?}");
        assert_eq!(given.texts("s").await, ["one", "two"], "the actor does not trust what it believed");
        let answer = given.send("s", "c2", "two").await.expect("it is answered");
        let stored = given.stored().await;
        assert_eq!(stored.len(), 2);
        assert_eq!(Some(answer), stored.last().map(|message| SentMessage::Duplicate(message.message_id)));
    });
}

async fn send(given: Given, client_id: &'static str) -> Result<SentMessage, SessionError> {
    given.send("s", client_id, "hello").await
}

#[test]
fn an_erased_session_that_the_store_does_not_delete_answers_errors_and_is_deleted_later() {
    paused(async {
        let given = Given::new();
        given.say("s", "before").await;
        let condition = ErasureCondition::StartedBy(given.store.head());
        given.store.refuse_removals(11);
        let erase = async || given.directory.erase(&tenant(), &id("s"), condition, cause()).await;
        let erased = erase().await;
        assert!(matches!(erased, Err(SessionError::Undeleted(_))), "{erased:?}");
        let sent = given.send("s", "", "lost").await;
        assert!(matches!(sent, Err(SessionError::Append(_))), "{sent:?}");
        // It was recorded once, and is deleted now.
        let position = given.store.head();
        assert_eq!(erase().await.expect("erased"), Some(position));
        assert_eq!(erase().await.expect("nothing is there"), None);
        assert_eq!(given.store.head(), position);
        given.say("s", "anew").await;
        assert_eq!(given.texts("s").await, ["anew"]);
        // A session that started since then does not meet the condition.
        assert_eq!(erase().await.expect("nothing is there"), None);
        assert_eq!(given.texts("s").await, ["anew"]);
    });
}
