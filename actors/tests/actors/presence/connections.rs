//! Who is online according to connections: what is announced for tabs, returning and identifying oneself.

use std::{sync::Arc, time::Duration};

use amoiq_actors::presence::{
    ConnectedVisitor, ConnectionId, PresenceHandle, PresenceSettings, PresenceSignals,
};
use amoiq_events::{Ambient, EventLog, ShortText, StreamName};
use amoiq_testkit::stores::{ScriptedAppend, ScriptedStore};
use tokio::{
    sync::Notify,
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::{
    given::{DEADLINE, paused, tenant},
    presence::given::{BATCH, GRACE, GivenPresence, a_batch, other_tenant, rest, visitor},
};

const NOTHING: [&str; 0] = [];

#[test]
fn a_second_tab_announces_nothing() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        given.identify(2, "ann", "s1").await;
        rest().await;
        given.close(1).await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1"]);
        assert_eq!(given.names().await, ["ann s1"]);
    });
}

#[test]
fn the_last_close_announces_offline_after_the_grace_period() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        given.identify(2, "ann", "s1").await;
        a_batch().await;
        given.close(1).await;
        sleep(GRACE).await;
        given.close(2).await;
        sleep(GRACE - BATCH).await;
        assert_eq!(given.said().await, ["online ann s1"], "the grace is not over");
        sleep(3 * BATCH).await;
        assert_eq!(given.said().await, ["online ann s1", "offline ann s1"]);
        assert_eq!(given.names().await, NOTHING);
    });
}

#[test]
fn returning_within_the_grace_period_announces_nothing() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        let before = given.listed().await;
        for page in 1..5 {
            given.close(page).await;
            sleep(GRACE - Duration::from_millis(1)).await;
            given.identify(page + 1, "ann", "s1").await;
        }
        rest().await;
        assert_eq!(given.said().await, ["online ann s1"]);
        assert_eq!(given.listed().await, before, "online since they first came");
    });
}

#[test]
fn a_visitor_who_returns_after_the_grace_period_is_online_since_then() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        given.close(1).await;
        rest().await;
        let now = given.ambient.now();
        given.identify(2, "ann", "s1").await;
        a_batch().await;
        assert_eq!(given.said().await, ["online ann s1", "offline ann s1", "online ann s1"]);
        assert_eq!(given.listed().await.users.first().map(|user| user.connected_at), Some(now));
    });
}

#[test]
fn a_visitor_who_returns_before_offline_is_announced_was_never_away() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        let before = given.listed().await;
        given.close(1).await;
        sleep(GRACE + BATCH / 2).await;
        given.identify(2, "ann", "s1").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1"]);
        assert_eq!(given.listed().await, before);
    });
}

#[test]
fn a_visitor_who_returns_while_offline_is_being_announced_is_online_since_then() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        given.close(1).await;
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::Held(Arc::clone(&may)));
        sleep(GRACE + BATCH * 2).await;
        let now = given.ambient.now();
        given.identify(2, "ann", "s1").await;
        may.notify_one();
        rest().await;
        assert_eq!(given.said().await, ["online ann s1", "offline ann s1", "online ann s1"]);
        assert_eq!(given.listed().await.users.first().map(|user| user.connected_at), Some(now));
    });
}

#[test]
fn identifying_itself_replaces_the_provisional_entry_in_one_append() {
    paused(async {
        let given = GivenPresence::new();
        let opened_at = given.ambient.now();
        given.identify(1, "provisional", "p1").await;
        rest().await;
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        assert_eq!(given.said().await, ["online provisional p1", "offline provisional p1", "online ann s1"]);
        assert_eq!(given.store.appends(), [1, 2]);
        assert_eq!(given.names().await, ["ann s1"]);
        let since = given.listed().await.users.first().map(|user| user.connected_at);
        assert_eq!(since, Some(opened_at), "their connection opened then");
    });
}

#[test]
fn identifying_itself_before_any_announcement_announces_only_the_name() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "provisional", "p1").await;
        given.identify(1, "ann", "s1").await;
        rest().await;
        given.identify(1, "ann", "s1").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1"]);
    });
}

#[test]
fn identifying_itself_leaves_the_old_name_online_while_another_tab_has_it() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "visitor", "s1").await;
        given.identify(2, "visitor", "s1").await;
        a_batch().await;
        given.identify(1, "ann", "s1").await;
        rest().await;
        assert_eq!(given.names().await, ["ann s1", "visitor s1"]);
        given.identify(2, "ann", "s1").await;
        a_batch().await;
        assert_eq!(given.said().await, ["online visitor s1", "online ann s1", "offline visitor s1"]);
    });
}

#[test]
fn identifying_itself_does_not_wait_for_the_grace_period_of_a_closed_tab() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "visitor", "s1").await;
        given.identify(2, "visitor", "s1").await;
        a_batch().await;
        given.close(2).await;
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        assert_eq!(given.said().await, ["online visitor s1", "offline visitor s1", "online ann s1"]);
        rest().await;
        assert_eq!(given.names().await, ["ann s1"]);
    });
}

#[test]
fn another_session_of_a_user_replaces_the_entry() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        given.identify(2, "ann", "s2").await;
        a_batch().await;
        assert_eq!(given.names().await, ["ann s2"]);
        given.close(2).await;
        a_batch().await;
        assert_eq!(given.names().await, ["ann s2"], "they may come back");
        rest().await;
        assert_eq!(given.names().await, ["ann s1"], "the tab that is left");
        assert_eq!(given.said().await, ["online ann s1", "online ann s2", "online ann s1"]);
    });
}

#[test]
fn a_repeated_identity_is_not_newer_than_another_tab() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        given.identify(2, "ann", "s2").await;
        a_batch().await;
        given.identify(1, "ann", "s1").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s2"]);
        given.identify(1, "ann", "s3").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s2", "online ann s3"]);
    });
}

#[test]
fn a_visitor_who_comes_and_leaves_between_two_appends_leaves_nothing() {
    paused(async {
        let given = GivenPresence::with_grace(Duration::ZERO);
        given.identify(1, "ann", "s1").await;
        given.identify(2, "bob", "s2").await;
        given.close(1).await;
        rest().await;
        assert_eq!(given.said().await, ["online bob s2"]);
    });
}

#[test]
fn a_repeated_or_unknown_close_changes_nothing() {
    paused(async {
        let given = GivenPresence::new();
        given.close(7).await;
        given.identify(1, "ann", "s1").await;
        given.identify(2, "ann", "s1").await;
        given.close(1).await;
        given.close(1).await;
        rest().await;
        given.close(1).await;
        given.identify(3, "bob", "s2").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1", "online bob s2"]);
    });
}

#[test]
fn a_connection_that_identifies_itself_after_it_closed_is_open_again() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        given.close(1).await;
        given.identify(1, "ann", "s1").await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1"]);
        given.close(1).await;
        rest().await;
        assert_eq!(given.said().await, ["online ann s1", "offline ann s1"]);
    });
}

#[test]
fn five_thousand_visitors_at_once_are_a_few_appends() {
    paused(async {
        let given = GivenPresence::new();
        let comes = |number: u64| {
            let given = given.clone();
            spawn_local(async move { given.identify(number, &format!("user {number}"), "s").await })
        };
        for opened in (0..5_000).map(comes).collect::<Vec<_>>() {
            opened.await.expect("it is taken");
        }
        rest().await;
        let appends = given.store.appends();
        assert_eq!(appends.iter().sum::<usize>(), 5_000);
        assert!(appends.len() <= 10, "{appends:?}");
        assert_eq!(given.listed().await.total, 5_000);
    });
}

#[test]
fn more_changes_than_the_mailboxes_hold_are_neither_lost_nor_reordered() {
    paused(async {
        let given = GivenPresence::new();
        let visit = |number: u64| {
            let given = given.clone();
            spawn_local(async move {
                given.identify(number, &format!("provisional {number}"), "p").await;
                given.identify(number, &format!("user {}", number / 2), "s").await;
                if number != 7 {
                    given.close(number).await;
                }
            })
        };
        for visit in (0..10_000).map(visit).collect::<Vec<_>>() {
            visit.await.expect("it is taken");
        }
        rest().await;
        assert_eq!(given.names().await, ["user 3 s"]);
    });
}

#[test]
fn a_crowd_with_long_addresses_is_announced_in_parts() {
    paused(async {
        let given = GivenPresence::new();
        // Escaped, a control character takes six bytes.
        let long = ShortText::cut(&"\u{1}".repeat(ShortText::MAX_BYTES));
        for number in 0..30 {
            let ann = visitor(&format!("user {number}"), "s");
            let far =
                ConnectedVisitor { domain: long.clone(), origin: long.clone(), url: long.clone(), ..ann };
            given.presence.identify(&tenant(), ConnectionId(number), far).await.expect("it is taken");
        }
        rest().await;
        assert_eq!(given.listed().await.total, 30);
        // Seven of 36 KiB are less than 256 KiB, and eight are more.
        assert_eq!(given.store.appends(), [7, 7, 7, 7, 2]);
    });
}

#[test]
fn tenants_are_separate() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        let (other, ann) = (other_tenant(), visitor("ann", "s1"));
        given.presence.identify(&other, ConnectionId(2), ann).await.expect("it is taken");
        a_batch().await;
        given.close(1).await;
        given.close(2).await;
        rest().await;
        assert_eq!(given.names().await, NOTHING);
        let listed = given.online.list(&other, 10, given.store.head()).await.expect("a list");
        assert_eq!(listed.total, 1, "a tenant closes no connection of another");
        let streams: Vec<_> = given.store.log().await.into_iter().map(|event| event.stream).collect();
        let [here, there] = [&tenant(), &other].map(StreamName::presence);
        assert_eq!(streams, [here.clone(), there, here]);
    });
}

#[test]
fn the_actor_of_a_tenant_without_visitors_is_dropped_and_starts_again() {
    paused(async {
        let given = GivenPresence::new();
        let holders = || Arc::strong_count(&given.shared);
        let without = holders();
        given.identify(1, "ann", "s1").await;
        rest().await;
        rest().await;
        assert_eq!(holders(), without + 1, "somebody is online");
        given.close(1).await;
        rest().await;
        rest().await;
        assert_eq!(holders(), without);
        given.identify(2, "ann", "s1").await;
        a_batch().await;
        assert_eq!(given.names().await, ["ann s1"]);
    });
}

#[test]
fn on_its_own_arbiter_it_accepts_changes_before_it_runs() {
    actix::System::new().block_on(async {
        let store = ScriptedStore::new();
        let shared: Arc<dyn EventLog> = Arc::new(store.clone());
        let settings = PresenceSettings { offline_grace: Duration::ZERO, batch: Duration::from_millis(1) };
        let presence =
            PresenceHandle::start(settings, &shared, &Ambient::system(), &PresenceSignals::new().0);
        for number in 0..1_000 {
            let visitor = visitor(&format!("user {number}"), "s");
            presence.identify(&tenant(), ConnectionId(number), visitor).await.expect("it is taken");
        }
        let begun = Instant::now();
        while store.log().await.len() < 1_000 {
            assert!(begun.elapsed() < DEADLINE, "{} were said", store.log().await.len());
            sleep(Duration::from_millis(1)).await;
        }
    });
}
