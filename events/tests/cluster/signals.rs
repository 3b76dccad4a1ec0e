//! Who is online on each node, as nodes tell each other through a real PostgreSQL.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    SessionId, TenantId, Timestamp, UserId,
    cluster::ClusterLeases,
    presence::UserOnline,
    signals::{
        EntryChange, NodeEntries, PostgresSignals, PublishOutcome, SignalError, SignalExchange,
        SignalOptions, SignalledVisitor,
    },
};
use amoiq_testkit::PostgresServer;

use crate::given::{GivenCluster, GivenNode, within};

/// How long a node may take to be woken.
const WOKEN: Duration = Duration::from_secs(10);

fn exchange(cluster: &GivenCluster, node: &GivenNode, name: &str) -> PostgresSignals {
    let options = SignalOptions { database: cluster.open(), node: name.into(), view: node.leases.view() };
    tokio::task::block_in_place(|| PostgresSignals::open(options)).expect("an exchange")
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user {number}")).expect("an id")
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("an id")
}

fn online(number: usize) -> EntryChange {
    let visitor = SignalledVisitor {
        online: UserOnline {
            user_id: user(number),
            session_id: SessionId::parse("s").expect("an id"),
            connected_at: Timestamp::from_millis(1),
            verified: Some(false),
            claimed_user_id: None,
            is_told: false,
            node: None,
            domain: None,
            origin: None,
            url: None,
        },
        is_logged: number.is_multiple_of(2),
    };
    EntryChange { tenant: tenant(), user: user(number), visitor: Some(visitor) }
}

fn offline(number: usize) -> EntryChange {
    EntryChange { visitor: None, ..online(number) }
}

async fn publish(exchange: &PostgresSignals, changes: Vec<EntryChange>) -> PublishOutcome {
    within(exchange.publish(changes)).await.expect("published")
}

/// Everything that is new, in the order of users.
async fn news(exchange: &PostgresSignals) -> (bool, Vec<EntryChange>) {
    let (mut is_whole, mut changes) = (false, Vec::new());
    loop {
        let read = within(exchange.read()).await.expect("read");
        if read.is_empty() {
            changes.sort_by(|a: &EntryChange, b| a.user.as_str().cmp(b.user.as_str()));
            return (is_whole, changes);
        }
        for NodeEntries { node, is_whole: of_this, changes: more, .. } in read {
            assert_eq!(&*node, "a");
            is_whole |= of_this;
            changes.extend(more);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reads_what_another_published_since_it_read_last() {
    let cluster = GivenCluster::new();
    let (a, b) = (cluster.join("a"), cluster.join("b"));
    let (on_a, on_b) = (exchange(&cluster, &a, "a"), exchange(&cluster, &b, "b"));
    assert_eq!(publish(&on_a, vec![online(1), online(2)]).await, PublishOutcome::Alone);
    assert_eq!(news(&on_b).await, (true, vec![online(1), online(2)]));
    assert_eq!(news(&on_b).await, (false, Vec::new()));
    assert_eq!(publish(&on_a, vec![online(3)]).await, PublishOutcome::Added);
    assert_eq!(publish(&on_a, vec![offline(1), online(2)]).await, PublishOutcome::Added);
    assert_eq!(news(&on_b).await, (false, vec![offline(1), online(2), online(3)]));
    assert_eq!(within(on_a.read()).await, Ok(Vec::new()), "nobody reads their own");
    // Who joins hears only of those who are there.
    let c = cluster.join("c");
    let on_c = exchange(&cluster, &c, "c");
    assert_eq!(news(&on_c).await, (true, vec![online(2), online(3)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_is_woken() {
    let cluster = GivenCluster::new();
    let (a, b) = (cluster.join("a"), cluster.join("b"));
    let (on_a, on_b) = (exchange(&cluster, &a, "a"), exchange(&cluster, &b, "b"));
    let mut wake_ups = on_b.wake_ups();
    // Once because it listens, and then each time.
    within(wake_ups.changed()).await.expect("it listens");
    for number in 0..10 {
        publish(&on_a, vec![online(number)]).await;
        tokio::time::timeout(WOKEN, wake_ups.changed()).await.expect("woken").expect("it listens");
        assert_eq!(news(&on_b).await.1, [online(number)]);
        wake_ups.borrow_and_update();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_read_in_parts_and_lacks_nothing() {
    let cluster = GivenCluster::new();
    let (a, b) = (cluster.join("a"), cluster.join("b"));
    let (on_a, on_b) = (exchange(&cluster, &a, "a"), exchange(&cluster, &b, "b"));
    for part in 0..12 {
        publish(&on_a, (part * 1_000..(part + 1) * 1_000).map(online).collect()).await;
    }
    publish(&on_a, (0..700).map(offline).collect()).await;
    let (is_whole, mut read) = news(&on_b).await;
    assert!(is_whole);
    // After the first part it also hears of those who have gone since.
    read.retain(|change| change.visitor.is_some());
    let mut expected: Vec<_> = (700..12_000).map(online).collect();
    expected.sort_by(|a, b| a.user.as_str().cmp(b.user.as_str()));
    assert!(read == expected, "{} entries", read.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_missed_removals_that_are_not_kept_reads_everything() {
    let cluster = GivenCluster::new();
    let (a, b) = (cluster.join("a"), cluster.join("b"));
    let (on_a, on_b) = (exchange(&cluster, &a, "a"), exchange(&cluster, &b, "b"));
    publish(&on_a, vec![online(1), online(2)]).await;
    news(&on_b).await;
    publish(&on_a, vec![offline(1)]).await;
    let schema = &cluster.database.schema;
    let server = PostgresServer::shared();
    server.ask(&format!("UPDATE {schema}.signal_entries SET changed_at = changed_at - interval '2 minutes'"));
    publish(&on_a, vec![online(3)]).await;
    assert_eq!(server.ask(&format!("SELECT count(*) FROM {schema}.signal_entries")), "2");
    assert_eq!(news(&on_b).await, (true, vec![online(2), online(3)]));
    assert_eq!(news(&on_b).await, (false, Vec::new()));
    publish(&on_a, vec![online(4)]).await;
    assert_eq!(news(&on_b).await, (false, vec![online(4)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_learns_that_the_server_lost_what_it_published() {
    let cluster = GivenCluster::new();
    let (a, b) = (cluster.join("a"), cluster.join("b"));
    let (on_a, on_b) = (exchange(&cluster, &a, "a"), exchange(&cluster, &b, "b"));
    publish(&on_a, vec![online(1)]).await;
    news(&on_b).await;
    // What a crash of the server does to tables that are not logged.
    let schema = &cluster.database.schema;
    PostgresServer::shared().ask(&format!("TRUNCATE {schema}.signal_nodes, {schema}.signal_entries"));
    assert_eq!(publish(&on_a, Vec::new()).await, PublishOutcome::Alone);
    assert_eq!(publish(&on_a, vec![online(1)]).await, PublishOutcome::Added);
    assert_eq!(news(&on_b).await.1, [online(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_publishes_under_a_membership_that_is_over() {
    let cluster = GivenCluster::new();
    let (a, b) = (cluster.join("a"), cluster.join("b"));
    let (on_a, on_b) = (exchange(&cluster, &a, "a"), exchange(&cluster, &b, "b"));
    publish(&on_a, vec![online(1)]).await;
    let read = within(on_b.read()).await.expect("read");
    let [NodeEntries { node, membership, .. }] = &read[..] else { panic!("{read:?}") };
    let schema = &cluster.database.schema;
    let server = PostgresServer::shared();
    server.ask(&format!("DELETE FROM {schema}.nodes WHERE name = 'a'"));
    let refused = within(on_a.publish(vec![online(2)])).await;
    assert!(matches!(refused, Err(SignalError::Unavailable(_) | SignalError::NoMember)), "{refused:?}");
    // What another membership published is not forgotten with this one.
    within(on_b.forget(Arc::clone(node), membership + 1)).await.expect("forgotten");
    assert_eq!(server.ask(&format!("SELECT count(*) FROM {schema}.signal_entries")), "1");
    within(on_b.forget(Arc::clone(node), *membership)).await.expect("forgotten");
    assert_eq!(server.ask(&format!("SELECT count(*) FROM {schema}.signal_entries")), "0");
}
