//! A node that is killed, stopped, cut off, or has the wrong time.

use std::time::{Duration, Instant};

use amoiq_testkit::PostgresServer;

use crate::{
    child_node::{ChildNode, WORK, WorkJournal},
    given::{GivenCluster, TERM, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_had_goes_to_another_after_its_term() {
    let server = PostgresServer::shared();
    let cluster = GivenCluster::on(server);
    let journal = WorkJournal::new(server, &cluster);
    let first = ChildNode::start(&cluster, "a", false);
    eventually("the first works", || journal.count("a") > 0);
    let other = cluster.join("b");
    // Long enough in contact to see that another is silent.
    tokio::time::sleep(TERM).await;
    first.signal("KILL");
    let killed = Instant::now();
    let lease = other.ask_until_granted(WORK).await;
    let took = killed.elapsed();
    assert!(took > TERM * 2 / 3, "before the holder would have stopped: {took:?}");
    assert!(took < TERM * 2, "{took:?}");
    assert!(lease.is_valid());
    eventually("the register shows it", || other.sees().len() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_that_wakes_writes_nothing_under_its_old_lease() {
    let server = PostgresServer::shared();
    let cluster = GivenCluster::on(server);
    let journal = WorkJournal::new(server, &cluster);
    let nodes = [ChildNode::start(&cluster, "a", true), ChildNode::start(&cluster, "b", true)];
    eventually("one works", || journal.count("a") + journal.count("b") > 0);
    let mut holder = usize::from(journal.count("a") == 0);
    let names = ["a", "b"];
    tokio::time::sleep(TERM).await;
    for round in 1..=3 {
        nodes[holder].signal("STOP");
        let before = journal.count(names[1 - holder]);
        eventually("the other takes over", || journal.count(names[1 - holder]) > before);
        nodes[holder].signal("CONT");
        // The zombie finds its writes refused, and joins again.
        tokio::time::sleep(TERM).await;
        journal.assert_in_order();
        assert_eq!(journal.grants(), round + 1);
        holder = 1 - holder;
    }
    assert!(journal.longest_gap() < TERM * 2, "{:?}", journal.longest_gap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_are_killed_and_stopped_in_turn_never_work_at_the_same_time() {
    let server = PostgresServer::shared();
    let cluster = GivenCluster::on(server);
    let journal = WorkJournal::new(server, &cluster);
    let names = ["a", "b", "c"];
    let mut nodes = names.map(|name| ChildNode::start(&cluster, name, false));
    for round in 0..4 {
        let holder = names.iter().position(|name| {
            let before = journal.count(name);
            std::thread::sleep(Duration::from_millis(200));
            journal.count(name) > before
        });
        let Some(holder) = holder else { continue };
        let others = |journal: &WorkJournal<'_>| -> usize {
            names
                .iter()
                .enumerate()
                .filter(|(place, _)| *place != holder)
                .map(|(_, name)| journal.count(name))
                .sum()
        };
        let before = others(&journal);
        nodes[holder].signal(if round % 2 == 0 { "KILL" } else { "STOP" });
        eventually("another takes over", || others(&journal) > before);
        if round % 2 == 0 {
            nodes[holder] = ChildNode::start(&cluster, names[holder], false);
        } else {
            nodes[holder].signal("CONT");
        }
        // Everybody has been in contact for a term.
        tokio::time::sleep(TERM).await;
    }
    journal.assert_in_order();
}
