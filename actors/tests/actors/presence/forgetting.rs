//! Forgetting somebody who is, or just was, online: it is announced at once, and nothing after that.

use std::{collections::HashSet, sync::Arc};

use amoiq_actors::presence::ForgetTarget;
use amoiq_events::UserId;
use amoiq_testkit::stores::ScriptedAppend;
use tokio::{sync::Notify, task::spawn_local};

use crate::{
    given::{id, paused, tenant},
    presence::given::{GivenPresence, a_batch, rest},
};

const NOTHING: [&str; 0] = [];

fn user(user: &str) -> ForgetTarget {
    ForgetTarget { user: Some(UserId::parse(user).expect("an id")), ..ForgetTarget::default() }
}

fn session(session: &str) -> ForgetTarget {
    ForgetTarget { user: None, sessions: Arc::new(HashSet::from([id(session)])) }
}

async fn forget(given: &GivenPresence, whom: ForgetTarget) {
    given.presence.forget(&tenant(), whom).await.expect("it is said");
}

#[test]
fn an_online_visitor_is_offline_when_forgotten_and_their_socket_announces_nothing_more() {
    paused(async {
        for whom in [user("ann"), session("s1")] {
            let given = GivenPresence::new();
            given.identify(1, "ann", "s1").await;
            given.identify(2, "bob", "s2").await;
            a_batch().await;
            forget(&given, whom).await;
            let said = ["online ann s1", "online bob s2", "offline ann s1"];
            assert_eq!(given.said().await, said);
            assert_eq!(given.names().await, ["bob s2"]);
            given.close(1).await;
            rest().await;
            assert_eq!(given.said().await, said);
        }
    });
}

#[test]
fn forgetting_ends_a_grace_period() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        given.close(1).await;
        forget(&given, user("ann")).await;
        assert_eq!(given.said().await, ["online ann s1", "offline ann s1"]);
        rest().await;
        assert_eq!(given.said().await, ["online ann s1", "offline ann s1"]);
    });
}

#[test]
fn what_was_not_announced_yet_of_the_forgotten_is_never_announced() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        forget(&given, user("ann")).await;
        rest().await;
        assert_eq!(given.said().await, NOTHING);
    });
}

#[test]
fn an_announcement_underway_is_awaited_and_revoked() {
    paused(async {
        let given = GivenPresence::new();
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::Held(Arc::clone(&may)));
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        let forgetting = spawn_local({
            let given = given.clone();
            async move { forget(&given, session("s1")).await }
        });
        a_batch().await;
        assert!(!forgetting.is_finished(), "what is on its way came behind it");
        may.notify_one();
        forgetting.await.expect("it is forgotten");
        assert_eq!(given.said().await, ["online ann s1", "offline ann s1"]);
    });
}

#[test]
fn a_visitor_who_returns_while_being_forgotten_is_announced_again() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::Held(Arc::clone(&may)));
        given.identify(2, "bob", "s2").await;
        a_batch().await;
        let forgetting = spawn_local({
            let given = given.clone();
            async move { forget(&given, session("s1")).await }
        });
        a_batch().await;
        given.identify(3, "ann", "s1").await;
        may.notify_one();
        forgetting.await.expect("it is forgotten");
        let said = ["online ann s1", "online bob s2", "online ann s1"];
        assert_eq!(given.said().await, said, "what was said first is removed from the log");
    });
}

#[test]
fn forgetting_waits_for_a_store_that_fails() {
    paused(async {
        for turn in [ScriptedAppend::DurableButUnknown, ScriptedAppend::Lost] {
            let given = GivenPresence::new();
            given.store.next(turn);
            given.store.next(ScriptedAppend::Overloaded);
            given.identify(1, "ann", "s1").await;
            a_batch().await;
            forget(&given, user("ann")).await;
            let said = given.said().await;
            assert_eq!(said.last().map(String::as_str), Some("offline ann s1"));
            rest().await;
            assert_eq!(given.said().await, said);
        }
    });
}

#[test]
fn a_visitor_who_identifies_again_is_online_again_and_one_with_another_session_stays() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        given.identify(2, "bob", "s2").await;
        given.identify(3, "bob", "s3").await;
        a_batch().await;
        forget(&given, session("s3")).await;
        assert_eq!(given.names().await, ["ann s1", "bob s2"]);
        forget(&given, user("ann")).await;
        assert_eq!(given.names().await, ["bob s2"]);
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        assert_eq!(given.names().await, ["ann s1", "bob s2"]);
    });
}

#[test]
fn forgetting_does_not_wait_for_a_crowd() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(0, "ann", "s1").await;
        a_batch().await;
        let comes = |number: u64| {
            let given = given.clone();
            spawn_local(async move { given.identify(number, &format!("user {number}"), "s").await })
        };
        for opened in (1..=8_000).map(comes).collect::<Vec<_>>() {
            opened.await.expect("it is taken");
        }
        forget(&given, user("ann")).await;
        let appends = given.store.appends();
        assert!(appends.len() <= 3, "{appends:?}");
    });
}
