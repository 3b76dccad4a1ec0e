//! Presence while the store fails: nothing is lost, nobody stays online for ever, and connections are
//! still counted.

use std::{collections::HashSet, sync::Arc, time::Duration};

use amoiq_testkit::stores::ScriptedAppend;
use tokio::{sync::Notify, time::sleep};

use crate::{
    given::paused,
    presence::given::{GivenPresence, a_batch, rest},
};

const NOTHING: [&str; 0] = [];

#[test]
fn what_a_store_refused_is_announced_later_as_it_is_then() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        given.store.always(ScriptedAppend::Overloaded);
        given.close(1).await;
        given.identify(2, "bob", "s2").await;
        given.identify(3, "came and went", "s3").await;
        a_batch().await;
        given.close(3).await;
        sleep(Duration::from_secs(60)).await;
        given.identify(4, "cleo", "s4").await;
        let tries = given.store.appends().len();
        assert!((20..60).contains(&tries), "{tries} appends in a minute");
        given.store.always(ScriptedAppend::Works);
        rest().await;
        assert_eq!(
            given.said().await,
            ["online ann s1", "online bob s2", "offline ann s1", "online cleo s4"]
        );
        assert_eq!(given.names().await, ["bob s2", "cleo s4"]);
    });
}

#[test]
fn after_an_unknown_outcome_the_same_ids_are_appended_again() {
    paused(async {
        let given = GivenPresence::new();
        given.store.next(ScriptedAppend::DurableButUnknown);
        given.store.next(ScriptedAppend::Lost);
        given.store.next(ScriptedAppend::DurableButUnknown);
        given.identify(1, "ann", "s1").await;
        given.identify(2, "bob", "s2").await;
        a_batch().await;
        given.identify(3, "cleo", "s3").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1", "online bob s2", "online cleo s3"]);
        assert_eq!(given.store.appends(), [2, 2, 2, 2, 1]);
    });
}

#[test]
fn a_visitor_who_leaves_after_an_online_with_an_unknown_outcome_is_announced_as_offline() {
    paused(async {
        for turn in [ScriptedAppend::DurableButUnknown, ScriptedAppend::Lost, ScriptedAppend::Panics] {
            let given = GivenPresence::with_grace(Duration::ZERO);
            given.store.next(turn);
            given.identify(1, "ann", "s1").await;
            a_batch().await;
            given.close(1).await;
            rest().await;
            assert_eq!(given.said().await.last().map(String::as_str), Some("offline ann s1"));
            assert_eq!(given.names().await, NOTHING);
        }
    });
}

#[test]
fn a_visitor_who_returns_after_an_offline_with_an_unknown_outcome_is_online() {
    paused(async {
        for turn in [ScriptedAppend::DurableButUnknown, ScriptedAppend::Lost, ScriptedAppend::Panics] {
            let given = GivenPresence::with_grace(Duration::ZERO);
            given.identify(1, "ann", "s1").await;
            a_batch().await;
            given.store.next(turn);
            given.close(1).await;
            sleep(Duration::from_millis(200)).await;
            assert_eq!(given.store.appends().len(), 2, "the second did not end well");
            let now = given.ambient.now();
            given.identify(2, "ann", "s1").await;
            rest().await;
            assert_eq!(given.names().await, ["ann s1"]);
            let since = given.listed().await.users.first().map(|user| user.connected_at);
            assert_eq!(since, Some(now), "it may have been said that they went");
        }
    });
}

#[test]
fn a_visitor_who_returns_before_the_store_accepts_their_offline_was_never_away() {
    paused(async {
        let given = GivenPresence::with_grace(Duration::ZERO);
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        let before = given.listed().await;
        given.store.next(ScriptedAppend::Overloaded);
        given.close(1).await;
        sleep(Duration::from_millis(200)).await;
        assert_eq!(given.store.appends().len(), 2, "the second did not end well");
        given.identify(2, "ann", "s1").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1"]);
        assert_eq!(given.listed().await, before);
    });
}

#[test]
fn connections_are_counted_while_an_append_is_underway() {
    paused(async {
        let given = GivenPresence::with_grace(Duration::ZERO);
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::Held(Arc::clone(&may)));
        given.identify(1, "ann", "s1").await;
        given.identify(2, "bob", "s2").await;
        a_batch().await;
        for number in 10..1_010 {
            given.identify(number, &format!("user {number}"), "s").await;
        }
        given.close(1).await;
        given.identify(3, "bob", "s3").await;
        rest().await;
        assert_eq!(given.store.appends(), [2], "one at a time");
        may.notify_one();
        rest().await;
        let names = given.names().await;
        assert_eq!(names.len(), 1_001);
        assert!(names.contains(&"bob s3".to_owned()) && !names.contains(&"ann s1".to_owned()));
    });
}

#[test]
fn a_store_that_panics_does_not_end_presence() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        given.store.next(ScriptedAppend::Panics);
        given.identify(2, "bob", "s2").await;
        rest().await;
        given.close(1).await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1", "online bob s2", "offline ann s1"]);
    });
}

#[test]
fn an_event_id_is_in_the_log_once_after_any_number_of_tries() {
    paused(async {
        let given = GivenPresence::new();
        for number in 0..50 {
            given.store.next(ScriptedAppend::DurableButUnknown);
            given.identify(number, &format!("user {number}"), "s").await;
            sleep(Duration::from_millis(30)).await;
        }
        given.store.always(ScriptedAppend::Works);
        rest().await;
        let log = given.store.log().await;
        let ids: HashSet<_> = log.iter().map(|recorded| recorded.event.id).collect();
        assert_eq!(ids.len(), log.len());
        assert_eq!(given.names().await.len(), 50);
    });
}
