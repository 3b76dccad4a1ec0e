//! A cluster of which one node is dead or cut off.

use std::time::{Duration, Instant};

use amoiq_events::{
    EventLog, Position,
    store::{LogMaintenance, StoreHealth},
};
use amoiq_testkit::{KurrentServer, eventually};

use super::{append_at_last, open};
use crate::given::{numbers, take, whole_log};

/// How long appends may stand still when a node is lost.
const STANDSTILL: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_and_subscriptions_go_on_when_the_leader_dies() {
    let mut server = KurrentServer::start_cluster(2);
    let store = open(&server);
    let mut subscription = store.subscribe(Position::START);
    append_at_last(&store, "a", 1).await;
    for (number, dead) in (2..).zip([0, 1, 0]) {
        tokio::task::block_in_place(|| server.kill(dead));
        server.elect(1 - dead);
        let since = Instant::now();
        append_at_last(&store, "a", number).await;
        assert!(since.elapsed() < STANDSTILL, "{:?}", since.elapsed());
        tokio::task::block_in_place(|| server.resume(dead));
    }
    assert_eq!(numbers(&take(&mut subscription, 4).await), [1, 2, 3, 4]);
    eventually("it works again", || store.health() == StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_and_subscriptions_go_on_when_the_leader_is_cut_off() {
    let server = KurrentServer::start_cluster(2);
    let store = open(&server);
    let mut subscription = store.subscribe(Position::START);
    append_at_last(&store, "a", 1).await;
    for (number, lost) in (2..).zip([0, 1, 0]) {
        server.black_hole(lost, true);
        server.elect(1 - lost);
        let since = Instant::now();
        append_at_last(&store, "a", number).await;
        assert!(since.elapsed() < STANDSTILL, "{:?}", since.elapsed());
        server.black_hole(lost, false);
    }
    assert_eq!(numbers(&take(&mut subscription, 4).await), [1, 2, 3, 4]);
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_another_node_replaces_is_left_at_once() {
    let server = KurrentServer::start_cluster(3);
    let store = open(&server);
    for number in 1..=6 {
        server.elect(usize::try_from(number % 3).expect("small"));
        let since = Instant::now();
        append_at_last(&store, "a", number).await;
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_while_one_of_the_servers_is_away() {
    let mut server = KurrentServer::start_cluster(2);
    append_at_last(&open(&server), "a", 1).await;
    for lost in 0..2 {
        tokio::task::block_in_place(|| server.kill(lost));
        server.elect(1 - lost);
        let store = open(&server);
        assert_eq!(numbers(&whole_log(&*store).await), [1]);
        tokio::task::block_in_place(|| server.resume(lost));
        server.black_hole(lost, true);
        let store = open(&server);
        assert_eq!(numbers(&whole_log(&*store).await), [1]);
        server.black_hole(lost, false);
    }
}
