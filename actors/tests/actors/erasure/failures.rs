//! Erasing while something fails: exactly the right persons are erased.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use amoiq_actors::{
    erasure::EraseError,
    projections::ViewError,
    retention::{RetentionSettings, RetentionTask},
};
use amoiq_events::{
    Event, EventLog, StreamName,
    store::ExpectedVersion,
    tenant::{SessionErased, TenantEvent},
};
use amoiq_testkit::stores::ScriptedAppend;
use rusqlite::Connection;

use crate::{
    erasure::given::Erasing,
    given::{DEADLINE, Given, cause, id, in_real_time, tenant},
    presence::given::other_tenant,
    projections::given::until,
};

const HERS: [&str; 10] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];

/// A user with ten sessions, and somebody else.
async fn given() -> Erasing {
    let erasing = Erasing::new(Given::new()).await;
    for session in HERS {
        erasing.given.say(session, "hello").await;
    }
    erasing.given.say("other", "hello").await;
    erasing.came_and_went_to(&tenant(), "quentina", "elsewhere").await;
    erasing.came_and_went_to(&tenant(), "ann", "other").await;
    erasing
}

/// The store refuses after some of the sessions, and works again later.
async fn erased_in_part(erasing: &Erasing) {
    for turn in [ScriptedAppend::Works, ScriptedAppend::Works, ScriptedAppend::Works] {
        erasing.given.store.next(turn);
    }
    for _ in HERS {
        erasing.given.store.next(ScriptedAppend::Overloaded);
    }
    let erased = erasing.erase(&HERS, "quentina").await;
    assert!(erased.is_err(), "{erased:?}");
    erasing.given.store.always(ScriptedAppend::Works);
}

#[test]
fn an_erasure_that_stopped_half_way_is_completed_for_everybody_it_named() {
    in_real_time(async {
        let erasing = given().await;
        erased_in_part(&erasing).await;
        assert_eq!(fs::metadata(erasing.marker()).expect("a file").permissions().mode() & 0o777, 0o600);
        let next = erasing.restarted().await;
        next.complete().await;
        for session in HERS {
            assert!(next.given.texts(session).await.is_empty(), "{session}");
        }
        assert_eq!(next.given.texts("other").await, ["hello"]);
        assert_eq!(next.presence(&tenant()).await, [2]);
    });
}

#[test]
fn a_new_session_under_an_erased_id_stays_when_the_rest_is_erased() {
    in_real_time(async {
        let erasing = given().await;
        erased_in_part(&erasing).await;
        let order = fs::read(erasing.marker()).expect("a file");
        erasing.given.say("s0", "anew").await;
        let next = erasing.restarted().await;
        next.complete().await;
        assert_eq!(next.given.texts("s0").await, ["anew"]);
        next.given.say("s9", "anew").await;
        // As if the process had died before it recorded that it was done.
        fs::write(next.marker(), order).expect("written");
        let last = next.restarted().await;
        last.complete().await;
        assert_eq!(last.given.texts("s9").await, ["anew"]);
    });
}

#[test]
fn a_repeated_erasure_affects_no_other_tenant() {
    in_real_time(async {
        let erasing = given().await;
        // As retention leaves it.
        let said = Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id: id("old") }));
        let said = vec![said.envelope(&erasing.given.ambient, &cause())];
        let stream = StreamName::tenant(&other_tenant());
        erasing.given.store.append(stream, ExpectedVersion::Any, said).await.expect("appended");
        erasing.came_and_went_to(&other_tenant(), "bob", "old").await;
        erased_in_part(&erasing).await;
        erasing.restarted().await.complete().await;
        assert_eq!(erasing.presence(&other_tenant()).await, [1]);
    });
}

#[test]
fn no_erasure_is_complete_while_tables_that_do_not_serve_may_contain_the_data() {
    in_real_time(async {
        let erasing = given().await;
        // As while a rebuild is underway.
        let views = Connection::open(erasing.views()).expect("views.db");
        let filling = "INSERT INTO generations VALUES ('elsewhere', 99, 0, 1, 1, 0, 0)";
        views.execute(filling, []).expect("a row");
        let erased = erasing.erase(&["s0"], "quentina").await;
        assert!(matches!(erased, Err(EraseError::View(ViewError::Rebuilding))), "{erased:?}");
        assert!(erasing.marker().exists());
        erasing.given.say("s0", "anew").await;
        views.execute("DELETE FROM generations WHERE number = 99", []).expect("no row");
        let next = erasing.restarted().await;
        next.complete().await;
        assert_eq!(next.given.texts("s0").await, ["anew"]);
    });
}

#[test]
fn an_order_that_cannot_be_parsed_is_an_error_that_says_what_to_do() {
    in_real_time(async {
        let erasing = given().await;
        fs::write(erasing.marker(), r#"[{"tenant": "the-cardigan-is-teal"}]"#).expect("written");
        let erased = erasing.erase(&["s0"], "").await.expect_err("it is not known whom else to erase");
        let said = erased.to_string();
        assert!(said.contains("erasing") && said.contains("delete the file and erase"), "{said}");
        assert!(!said.contains("cardigan"), "{said}");
        assert!(erasing.marker().exists());
        assert_eq!(erasing.given.texts("s0").await, ["hello"]);
    });
}

#[test]
fn a_damaged_session_does_not_prevent_the_removal_of_others() {
    in_real_time(async {
        let kept = Duration::from_millis(40);
        let erasing = Erasing::new(Given::new()).await;
        let given = &erasing.given;
        for session in ["a", "b damaged", "c"] {
            given.say(session, "hello").await;
            given.close(session).await;
        }
        given.clock.advance_millis(41);
        given.store.damage(StreamName::session(&tenant(), &id("b damaged")));
        let settings = RetentionSettings { presence: None, sessions: Some(kept) };
        let (eraser, inbox) = (erasing.eraser.clone(), erasing.inbox.clone());
        RetentionTask::start(eraser, inbox, given.duty(), given.ambient.clone(), settings);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !given.texts("c").await.is_empty() || !given.texts("a").await.is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "the other sessions do not go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn damaged_presence_of_one_tenant_does_not_prevent_the_removal_of_others() {
    in_real_time(async {
        let kept = Duration::from_millis(40);
        let erasing = Erasing::new(Given::new()).await;
        let given = &erasing.given;
        given.say("s", "hello").await;
        given.close("s").await;
        erasing.came_and_went("s").await;
        erasing.came_and_went_to(&other_tenant(), "bob", "s").await;
        given.clock.advance_millis(41);
        given.store.damage(StreamName::presence(&tenant()));
        let settings = RetentionSettings { presence: Some(kept), sessions: Some(kept) };
        let (eraser, inbox) = (erasing.eraser.clone(), erasing.inbox.clone());
        RetentionTask::start(eraser, inbox, given.duty(), given.ambient.clone(), settings);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !erasing.presence(&other_tenant()).await.is_empty() || !given.texts("s").await.is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "what is old does not go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// The most sessions that fail in one run.
const MAX_FAILURES: usize = 10;

#[test]
fn sessions_that_cannot_be_erased_delay_those_after_them_only_once() {
    for is_presence_damaged in [false, true] {
        in_real_time(async {
            let erasing = given().await;
            if is_presence_damaged {
                erasing.given.store.damage(StreamName::presence(&tenant()));
            }
            for _ in 0..MAX_FAILURES {
                erasing.given.store.next(ScriptedAppend::Overloaded);
            }
            let sessions: Vec<_> = HERS.into_iter().chain(["other"]).collect();
            let erased = erasing.erase(&sessions, "quentina").await;
            assert!(erased.is_err(), "{erased:?}");
            assert_eq!(erasing.given.texts("other").await, ["hello"]);
            // One can be erased now, and the rest still cannot.
            erasing.given.store.always(ScriptedAppend::Overloaded);
            erasing.given.store.next(ScriptedAppend::Works);
            let before = erasing.given.store.appends().len();
            let next = erasing.restarted().await;
            until(|| next.given.store.appends().len() >= before + 2).await;
            assert!(next.given.texts("other").await.is_empty());
        });
    }
}

#[test]
fn old_sessions_that_cannot_be_erased_do_not_prevent_the_removal_of_others() {
    in_real_time(async {
        let kept = Duration::from_millis(40);
        let erasing = Erasing::new(Given::new()).await;
        let given = &erasing.given;
        for session in HERS.into_iter().chain(["s_whole"]) {
            given.say(session, "hello").await;
            given.close(session).await;
        }
        given.clock.advance_millis(41);
        for session in HERS {
            given.store.damage(StreamName::session(&tenant(), &id(session)));
        }
        let settings = RetentionSettings { presence: None, sessions: Some(kept) };
        let (eraser, inbox) = (erasing.eraser.clone(), erasing.inbox.clone());
        RetentionTask::start(eraser, inbox, given.duty(), given.ambient.clone(), settings);
        let deadline = tokio::time::Instant::now() + DEADLINE / 6;
        while !given.texts("s_whole").await.is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "the one that is whole does not go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
