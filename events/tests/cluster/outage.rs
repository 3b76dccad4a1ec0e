//! A database that is away: stopped, killed, or cut off for one node.

use std::time::{Duration, Instant};

use amoiq_events::{cluster::ClusterLeases, postgres::PostgresOptions};
use amoiq_testkit::PostgresServer;

use crate::{
    child_node::WORK,
    cut_proxy::{CutProxy, CutState},
    given::{GivenCluster, TERM, eventually, try_join},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_loses_anything_while_the_database_is_away_for_longer_than_a_term() {
    let mut server = PostgresServer::start();
    let cluster = GivenCluster::on(&server);
    let nodes = [cluster.join("a"), cluster.join("b"), cluster.join("c")];
    let held = nodes[0].ask(WORK).await.expect("granted");
    tokio::time::sleep(TERM).await;
    let members =
        || nodes.each_ref().map(|node| node.leases.view().borrow().own.as_ref().expect("a member").fencing());
    let before = members();
    for outage in ["stopped where it is", "killed", "stopped where it is"] {
        if outage == "killed" {
            tokio::task::block_in_place(|| server.kill());
            tokio::time::sleep(TERM * 2).await;
            assert!(!held.is_valid(), "{outage}: the holder relies on what it cannot renew");
            tokio::task::block_in_place(|| server.resume());
        } else {
            let paused = server.pause();
            tokio::time::sleep(TERM * 2).await;
            assert!(!held.is_valid(), "{outage}: the holder relies on what it cannot renew");
            drop(paused);
        }
        let back = Instant::now();
        eventually("the holder has it again", || held.is_valid());
        while back.elapsed() < TERM {
            assert!(nodes[1].ask(WORK).await.is_none(), "{outage}: another took over");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(members(), before, "{outage}: a node was taken for dead");
        assert!(held.is_valid());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_died_while_the_database_was_away_is_replaced_a_term_after_it_came_back() {
    let server = PostgresServer::start();
    let cluster = GivenCluster::on(&server);
    let [a, b] = [cluster.join("a"), cluster.join("b")];
    a.ask(WORK).await.expect("granted");
    tokio::time::sleep(TERM).await;
    let paused = server.pause();
    drop(a.leases);
    tokio::time::sleep(TERM * 2).await;
    drop(paused);
    let back = Instant::now();
    b.ask_until_granted(WORK).await;
    assert!(back.elapsed() >= TERM, "after {:?}", back.elapsed());
    assert!(back.elapsed() < TERM * 3, "after {:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_stops_before_another_takes_over() {
    let server = PostgresServer::shared();
    let cluster = GivenCluster::on(server);
    let proxy = CutProxy::start(server).await;
    let [a, b] = [cluster.through(proxy.address()).join("a"), cluster.join("b")];
    for cut in [CutState::Closed, CutState::Silent] {
        let held = a.ask_until_granted(WORK).await;
        tokio::time::sleep(TERM).await;
        proxy.set(cut);
        let taken = b.ask_until_granted(WORK).await;
        assert!(!held.is_valid(), "{cut:?}: two nodes have it");
        proxy.set(CutState::Open);
        eventually("the node joins again", || held.is_over() && a.sees().len() == 2);
        b.leases.release(vec![taken]).await.expect("released");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_does_not_join_on_a_primary_that_was_replaced() {
    let mut primary = PostgresServer::start();
    let standby = primary.start_standby("standby");
    let address =
        format!("postgres://amoiq@127.0.0.1:{},127.0.0.1:{}/postgres", primary.port(), standby.port());
    let cluster = GivenCluster { database: PostgresOptions::new(&address) };
    let node = cluster.join("a");
    standby.catch_up(&primary);
    primary.kill();
    standby.promote();
    let note = node.directory.path().join("cluster.node");
    let has_noted = || std::fs::read_to_string(&note).is_ok_and(|text| text.contains("\"timeline\":2"));
    eventually("it has seen the new one", has_noted);
    drop(node.leases);
    tokio::task::block_in_place(|| primary.resume());
    let number = "SELECT number FROM amoiq.cluster";
    let before = [&primary, &standby].map(|server| server.ask(number));
    let again = try_join(cluster.options("a", node.directory.path())).expect("joined");
    let after = [&primary, &standby].map(|server| server.ask(number));
    assert!(after[0] == before[0] && after[1] != before[1], "{before:?} {after:?}");
    drop(again);
}
