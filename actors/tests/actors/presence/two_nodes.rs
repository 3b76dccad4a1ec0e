//! Visitors and staff on several nodes: what each node lists and tells, and what becomes of a node that is gone.

use std::time::Duration;

use amoiq_actors::presence::LoggedNews;
use amoiq_events::{
    Event, codec,
    presence::PresenceEvent,
    signals::{EntryChange, MemorySignals, SignalExchange, SignalledVisitor},
};
use amoiq_testkit::stores::{MemoryCluster, ScriptedStore};
use tokio::{task::spawn_local, time::sleep};

use crate::{
    given::paused,
    presence::given::{GivenPresence, a_batch, rest},
};

const NOTHING: [&str; 0] = [];

/// In this time a node has heard of a visitor who connected to another.
const HEARD: Duration = Duration::from_secs(1);

/// Nodes on one log, and what a test does with them.
struct GivenNodes<const N: usize> {
    nodes: [GivenPresence; N],
    cluster: MemoryCluster,
    exchanges: [MemorySignals; N],
}

/// Nodes by these names.
fn given<const N: usize>(names: [&str; N]) -> GivenNodes<N> {
    let (cluster, stores) = (MemoryCluster::default(), ScriptedStore::nodes::<N>());
    let members = names.map(|name| cluster.join(name));
    let first = MemorySignals::new("nobody", 0);
    let mut members = members.into_iter().zip(names).map(|(member, name)| {
        let exchange = first.node(name, member.membership());
        (member, exchange)
    });
    let parts = stores.map(|store| {
        let (member, exchange) = members.next().expect("a member for each store");
        let presence = GivenPresence::node(store.clone(), member, exchange.clone());
        spawn_local(async move {
            loop {
                // A node hears late of what others append.
                sleep(Duration::from_millis(40)).await;
                store.memory.follow();
            }
        });
        (presence, exchange)
    });
    let exchanges = parts.each_ref().map(|(_, exchange)| exchange.clone());
    GivenNodes { nodes: parts.map(|(presence, _)| presence), cluster, exchanges }
}

#[test]
fn staff_on_every_node_hear_of_a_silent_visitor_within_a_second_and_every_node_lists_them() {
    paused(async {
        let GivenNodes { nodes: [a, b, c], .. } = given(["a", "b", "c"]);
        a.identify(1, "ann", "silent-1").await;
        sleep(HEARD).await;
        for node in [&a, &b, &c] {
            assert_eq!(node.signalled(), ["online ann silent-1"]);
            assert_eq!(node.names().await, ["ann silent-1"]);
        }
        a.close(1).await;
        rest().await;
        for node in [&a, &b, &c] {
            assert_eq!(node.signalled(), ["offline ann silent-1"]);
            assert_eq!(node.names().await, NOTHING);
        }
        assert_eq!(a.said().await, NOTHING, "nothing of it is in the log");
    });
}

#[test]
fn a_visitor_who_has_written_is_in_the_next_list_of_every_node() {
    paused(async {
        let GivenNodes { nodes: [a, b], .. } = given(["a", "b"]);
        a.identify(1, "ann", "s1").await;
        a_batch().await;
        assert_eq!(b.names().await, ["ann s1"]);
        sleep(HEARD).await;
        assert_eq!(b.names().await, ["ann s1"]);
        assert_eq!(b.signalled(), NOTHING, "the log tells of them");
        let log = b.store.log().await;
        assert_eq!(b.online.news(&log[0]), LoggedNews::Others);
        assert_eq!(a.online.news(&log[0]), LoggedNews::Own);
        a.close(1).await;
        rest().await;
        assert_eq!(b.names().await, NOTHING);
        assert_eq!(a.said().await, ["online ann s1", "offline ann s1"]);
        let log = b.store.log().await;
        assert_eq!(b.online.news(&log[1]), LoggedNews::Others);
    });
}

#[test]
fn who_leaves_one_of_two_nodes_has_not_left() {
    paused(async {
        let GivenNodes { nodes: [a, b], .. } = given(["a", "b"]);
        for session in ["s1", "silent-1"] {
            a.identify(1, "ann", session).await;
            b.identify(2, "ann", session).await;
            sleep(HEARD).await;
            assert_eq!(a.listed().await.total, 1);
            a.signalled();
            b.signalled();
            a.close(1).await;
            rest().await;
            for node in [&a, &b] {
                assert_eq!(node.names().await, [format!("ann {session}")]);
                assert_eq!(node.signalled(), NOTHING, "{session}");
            }
            if session == "s1" {
                let log = b.store.log().await;
                let left = log.last().expect("it is in the log");
                assert_eq!(a.online.news(left), LoggedNews::Nothing);
                assert_eq!(b.online.news(left), LoggedNews::Nothing);
            }
            b.close(2).await;
            rest().await;
            for node in [&a, &b] {
                assert_eq!(node.names().await, NOTHING);
            }
            if session == "s1" {
                let log = a.store.log().await;
                let left = log.last().expect("it is in the log");
                assert_eq!(a.online.news(left), LoggedNews::Others);
                assert_eq!(b.online.news(left), LoggedNews::Own);
            } else {
                assert_eq!(a.signalled(), ["offline ann silent-1"]);
                assert_eq!(b.signalled(), ["offline ann silent-1"]);
            }
        }
    });
}

#[test]
fn a_visitor_who_writes_on_another_node_than_they_are_connected_to_is_in_the_log() {
    paused(async {
        let GivenNodes { nodes: [a, b], .. } = given(["a", "b"]);
        a.identify(1, "ann", "silent-1").await;
        sleep(HEARD).await;
        assert_eq!(a.said().await, NOTHING);
        b.session_started("silent-1").await;
        sleep(HEARD).await;
        assert_eq!(a.said().await.last().map(String::as_str), Some("online ann silent-1"));
    });
}

#[test]
fn one_node_says_offline_for_a_node_that_is_gone_and_each_tells_its_staff_of_silent_visitors() {
    paused(async {
        let GivenNodes { nodes: [a, b, c], cluster, .. } = given(["a", "b", "c"]);
        a.identify(1, "ann", "s1").await;
        a.identify(2, "bob", "silent-1").await;
        b.identify(3, "cat", "s2").await;
        sleep(HEARD).await;
        for node in [&b, &c] {
            node.signalled();
        }
        cluster.remove("a");
        // Not at once: it may only be missing for a moment.
        sleep(Duration::from_secs(2)).await;
        assert_eq!(b.names().await, ["ann s1", "bob silent-1", "cat s2"]);
        rest().await;
        for node in [&b, &c] {
            assert_eq!(node.names().await, ["cat s2"]);
            assert_eq!(node.signalled(), ["offline bob silent-1"]);
        }
        assert_eq!(b.said().await, ["online ann s1", "online cat s2", "offline ann s1"]);
        let log = b.store.log().await;
        assert_eq!(b.online.news(&log[2]), LoggedNews::Others);
    });
}

#[test]
fn whoever_left_according_to_the_log_is_gone_also_when_older_news_of_the_node_come_later() {
    paused(async {
        let GivenNodes { nodes: [a, b], exchanges: [exchange, _], .. } = given(["a", "b"]);
        a.identify(1, "ann", "s1").await;
        sleep(HEARD).await;
        let log = b.store.log().await;
        let Ok(Event::Presence(PresenceEvent::Online(online))) = codec::decode(&log[0]) else {
            panic!("{:?}", log[0])
        };
        let (tenant, user) = (log[0].stream.tenant_id().expect("a tenant"), online.user_id.clone());
        let visitor = Some(SignalledVisitor { online, is_logged: true });
        a.close(1).await;
        // Until the log says it.
        while b.store.log().await.len() < 2 {
            sleep(Duration::from_millis(10)).await;
        }
        exchange.publish(vec![EntryChange { tenant, user, visitor }]).await.expect("published");
        sleep(HEARD).await;
        assert_eq!(b.names().await, NOTHING);
        assert_eq!(b.signalled(), NOTHING);
        assert_eq!(b.online.news(&b.store.log().await[1]), LoggedNews::Others);
        a.identify(2, "ann", "s1").await;
        sleep(HEARD).await;
        assert_eq!(b.names().await, ["ann s1"]);
    });
}

#[test]
fn nobody_is_said_to_be_offline_while_nobody_can_look_who_is_there() {
    paused(async {
        let GivenNodes { nodes: [a, b], cluster, .. } = given(["a", "b"]);
        a.identify(1, "ann", "s1").await;
        a.identify(2, "bob", "silent-1").await;
        sleep(HEARD).await;
        b.signalled();
        // As if it had joined after the last look.
        cluster.remove("a");
        cluster.hide();
        rest().await;
        assert_eq!(b.names().await, ["ann s1", "bob silent-1"]);
        assert_eq!(b.signalled(), NOTHING);
        assert_eq!(b.said().await, ["online ann s1"]);
    });
}

#[test]
fn a_node_that_was_taken_for_dead_announces_everybody_again() {
    paused(async {
        let GivenNodes { nodes: [a, b], cluster, exchanges: [exchange, _] } = given(["a", "b"]);
        a.identify(1, "ann", "s1").await;
        a.identify(2, "bob", "silent-1").await;
        sleep(HEARD).await;
        cluster.remove("a");
        rest().await;
        assert_eq!(b.names().await, NOTHING);
        cluster.rejoin("a");
        exchange.rejoin(3);
        rest().await;
        for node in [&a, &b] {
            assert_eq!(node.names().await, ["ann s1", "bob silent-1"]);
        }
        assert_eq!(a.said().await, ["online ann s1", "offline ann s1", "online ann s1"]);
        a.close(1).await;
        a.close(2).await;
        rest().await;
        for node in [&a, &b] {
            assert_eq!(node.names().await, NOTHING);
        }
    });
}

#[test]
fn entries_that_the_exchange_lost_come_back_and_nobody_is_told_anything() {
    paused(async {
        let GivenNodes { nodes: [a, b], exchanges: [exchange, late], .. } = given(["a", "b"]);
        a.identify(1, "bob", "silent-1").await;
        sleep(HEARD).await;
        assert_eq!(b.signalled(), ["online bob silent-1"]);
        exchange.crash();
        sleep(HEARD).await;
        assert_eq!(b.names().await, ["bob silent-1"], "what is remembered stays");
        rest().await;
        assert_eq!(b.signalled(), NOTHING);
        let all = late.node("c", 9).read().await.expect("entries");
        let users: Vec<_> =
            all.iter().flat_map(|node| &node.changes).map(|entry| entry.user.as_str()).collect();
        assert_eq!(users, ["bob"], "a node that joins hears of everybody");
    });
}
