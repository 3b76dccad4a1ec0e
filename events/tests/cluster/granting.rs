//! Granting and giving back; joining and leaving.

use std::{collections::HashSet, time::Duration};

use amoiq_events::{
    Ambient,
    cluster::{
        ClusterLeases, ClusterOpenError, ClusterOptions, HeldLease, LeaseError, LeaseName, NodeDescription,
        SingleNode,
    },
    store::Epoch,
};

use amoiq_testkit::PostgresServer;

use crate::given::{GivenCluster, GivenNode, TERM, description, eventually, lease, try_join, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_at_a_time_has_a_lease_and_each_grant_has_another_number() {
    let cluster = GivenCluster::new();
    let nodes = [cluster.join("a"), cluster.join("b"), cluster.join("c")];
    let mut numbers = HashSet::new();
    for round in 0..30 {
        let mut granted = Vec::new();
        for node in &nodes {
            granted.extend(node.ask("work").await.map(|lease| (node, lease)));
        }
        let [(holder, held)] = &granted[..] else { panic!("round {round}: {} have it", granted.len()) };
        assert!(held.is_valid());
        assert!(numbers.insert(held.fencing()), "a number comes again");
        within(holder.leases.release(vec![held.clone()])).await.expect("released");
        assert!(!held.is_valid() && held.is_over());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_that_ask_for_the_same_leases_at_once_share_them_out() {
    let cluster = GivenCluster::new();
    let nodes = [cluster.join("a"), cluster.join("b"), cluster.join("c")];
    let names: Vec<_> = (0..200).map(|number| lease(&number.to_string())).collect();
    let asked = nodes.each_ref().map(|node| node.leases.acquire(names.clone()));
    let mut granted = Vec::new();
    for answer in asked {
        granted.extend(within(answer).await.expect("answered"));
    }
    let distinct: HashSet<_> = granted.iter().map(|lease| lease.name().clone()).collect();
    assert_eq!((granted.len(), distinct.len()), (200, 200));
    let listed = within(nodes[0].leases.leases()).await.expect("listed");
    let mut known: Vec<_> = granted.iter().map(|lease| (lease.name().clone(), lease.fencing())).collect();
    known.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(listed.into_iter().map(|record| (record.name, record.fencing)).collect::<Vec<_>>(), known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_again_is_given_the_same_grant() {
    let node = GivenCluster::new().join("a");
    let first = node.ask("work").await.expect("granted");
    let again = node.ask("work").await.expect("granted");
    assert_eq!(first.fencing(), again.fencing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_gives_everything_up_at_once() {
    let cluster = GivenCluster::new();
    let [a, b] = [cluster.join("a"), cluster.join("b")];
    let held = a.ask("work").await.expect("granted");
    eventually("each sees both", || a.sees().len() == 2 && b.sees().len() == 2);
    assert_eq!(b.ask("work").await.map(|lease| lease.fencing()), None);
    within(a.leases.leave()).await.expect("left");
    assert!(held.is_over());
    assert_eq!(within(a.leases.acquire(vec![lease("work")])).await.err(), Some(LeaseError::NoMember));
    assert!(b.ask("work").await.is_some());
    eventually("the register shows it", || b.sees().len() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_stays_a_member_and_gives_up_what_nobody_hands_over() {
    let cluster = GivenCluster::new();
    let alone = cluster.join("a");
    let held = alone.ask("work").await.expect("granted");
    within(alone.leases.drain("other")).await.expect("it drains");
    assert_eq!(alone.ask("work").await.map(|lease| lease.fencing()), Some(held.fencing()), "nobody takes it");
    assert!(alone.ask("more").await.is_some());

    let cluster = GivenCluster::new();
    let [a, b] = [cluster.join("a"), cluster.join("b")];
    eventually("each sees both", || a.sees().len() == 2 && b.sees().len() == 2);
    assert!(a.ask("work").await.is_some());
    let kept = within(a.leases.acquire(vec![LeaseName::new("kept", "lane")])).await.expect("answered");
    within(a.leases.drain("kept")).await.expect("it drains");
    assert_eq!(a.ask("work").await.map(|lease| lease.fencing()), None);
    assert!(b.ask("work").await.is_some());
    assert!(kept.iter().all(HeldLease::is_valid), "its holder gives it back");
    assert_eq!(within(b.leases.acquire(vec![kept[0].name().clone()])).await.expect("answered").len(), 0);
    let prefers_b =
        || (0..50).all(|number| b.leases.view().borrow().is_preferred(&lease(&number.to_string())));
    eventually("the other is preferred for everything", prefers_b);
    assert!(!a.leases.view().borrow().is_preferred(kept[0].name()));
    assert_eq!(b.sees().len(), 2, "it is still a member");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_in_the_same_directory_takes_the_place_of_the_one_before_at_once() {
    let cluster = GivenCluster::new();
    let before = cluster.join("a");
    let held = before.ask("work").await.expect("granted");
    // Its process ends without a word.
    drop(before.leases);
    let since = std::time::Instant::now();
    let options = cluster.options("a", before.directory.path());
    let after = try_join(options).expect("joined");
    let again = within(after.acquire(vec![lease("work")])).await.expect("answered").pop().expect("granted");
    assert!(since.elapsed() < TERM / 3, "it took {:?}", since.elapsed());
    assert_ne!(held.fencing(), again.fencing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_of_one_name_do_not_run() {
    let cluster = GivenCluster::new();
    let first = cluster.join("a");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let refused = try_join(cluster.options("a", elsewhere.path())).err().expect("refused");
    let ClusterOpenError::NameTaken { name, address } = &refused else { panic!("{refused}") };
    assert_eq!((&**name, &**address), ("a", "a.example.com"));
    within(first.leases.leave()).await.expect("left");
    try_join(cluster.options("a", elsewhere.path())).expect("the name is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_tokens_others_refuse_does_not_join() {
    let cluster = GivenCluster::new();
    let _first = cluster.join("a");
    let with = |signing: &str, verifying: &[&str]| {
        let directory = tempfile::tempdir().expect("a directory");
        let verifying = verifying.iter().map(ToString::to_string).collect();
        let node = NodeDescription { signing: signing.to_owned(), verifying, ..description("b") };
        let joined = try_join(ClusterOptions { node, ..cluster.options("b", directory.path()) });
        joined.map(|leases| (leases, directory))
    };
    for (signing, verifying) in [("new", &["new", "secret"][..]), ("secret", &["new"]), ("new", &["new"])] {
        let refused = with(signing, verifying).err().expect("refused");
        assert!(matches!(&refused, ClusterOpenError::SecretsDiffer { node } if node == "a"), "{refused}");
    }
    let joined = with("secret", &["secret", "new"]).expect("the first step of a rotation");
    drop(joined);
}

#[tokio::test]
async fn a_single_node_has_everything_until_it_leaves() {
    let node = SingleNode::new(description("a"), Epoch(1), &Ambient::system());
    let held = node.acquire(vec![lease("work"), lease("more")]).await.expect("granted");
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(HeldLease::is_valid));
    node.release(vec![held[0].clone()]).await.expect("released");
    let names: Vec<_> = node.leases().await.expect("listed").into_iter().map(|record| record.name).collect();
    assert_eq!(names, [lease("more")]);
    node.leave().await.expect("left");
    assert!(held[1].is_over());
    assert_eq!(node.acquire(vec![lease("work")]).await.err(), Some(LeaseError::NoMember));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_another_epoch_guards_nothing() {
    let cluster = GivenCluster::new();
    let directory = tempfile::tempdir().expect("a directory");
    let join = |epoch| {
        let options = ClusterOptions { epoch: Epoch(epoch), ..cluster.options("a", directory.path()) };
        try_join(options).expect("joined")
    };
    let before =
        within(join(1).acquire(vec![lease("work")])).await.expect("answered").pop().expect("granted");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let after = within(join(2).acquire(vec![lease("work")])).await.expect("answered").pop().expect("granted");
    assert_eq!((before.fencing().epoch, after.fencing().epoch), (Epoch(1), Epoch(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_do_not_come_again_after_a_failover_that_lost_grants() {
    let cluster = GivenCluster::new();
    let (server, schema) = (PostgresServer::shared(), &cluster.database.schema);
    let a = cluster.join("a");
    let counted = server.ask(&format!("SELECT number FROM {schema}.cluster"));
    let held = a.ask("work").await.expect("granted");
    let membership = a.leases.view().borrow().own.clone().expect("a member");
    // What the promoted server does not have. No event of the log is lost with it.
    server.ask(&format!("DELETE FROM {schema}.nodes; UPDATE {schema}.cluster SET number = {counted} - 1"));
    let b = cluster.join("b");
    let other = b.ask("work").await.expect("granted");
    assert_ne!(held.fencing(), other.fencing());
    let check = |number| format!("SELECT {schema}.check_lease('test/work', 7, {number})");
    server.ask(&check(other.fencing().number));
    eventually("the first learns that its membership is gone", || membership.is_over());
    eventually("both are there", || a.sees().len() == 2 && b.sees().len() == 2);
    assert!(other.is_valid() && !other.is_over(), "nobody else renews or ends what the second has");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_joining_was_not_answered_recognises_itself() {
    let cluster = GivenCluster::new();
    let (server, schema) = (PostgresServer::shared(), &cluster.database.schema);
    within(cluster.join("first").leases.leave()).await.expect("left");
    // The first time it takes longer than a node waits, and nobody would take it for dead.
    server.ask(&format!(
        "CREATE TABLE {schema}.late (); CREATE FUNCTION {schema}.be_late() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
            IF NOT EXISTS (SELECT FROM {schema}.late) THEN
                INSERT INTO {schema}.late DEFAULT VALUES;
                NEW.until := clock_timestamp() + interval '1 day';
                PERFORM pg_sleep(3);
            END IF;
            RETURN NEW;
         END $$;
         CREATE TRIGGER late BEFORE INSERT ON {schema}.nodes FOR EACH ROW EXECUTE FUNCTION {schema}.be_late()"
    ));
    let node = cluster.join("a");
    let first = node.ask("work").await.expect("granted");
    // The same when it joins again after it was taken for dead.
    server.ask(&format!("DELETE FROM {schema}.nodes; TRUNCATE {schema}.late"));
    let second = node.ask_until_granted("work").await;
    assert_ne!(first.fencing(), second.fencing());
    assert_eq!(server.ask(&format!("SELECT count(*) FROM {schema}.nodes")), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_has_no_part_before_it_can_do_work() {
    let cluster = GivenCluster::new();
    let [a, b] = [cluster.join("a"), cluster.enter("b")];
    let part = |node: &GivenNode| {
        let view = node.leases.view();
        let view = view.borrow();
        (0..100).filter(|number| view.is_preferred(&lease(&number.to_string()))).count()
    };
    eventually("all is for the first", || (part(&a), part(&b)) == (100, 0));
    b.leases.serve();
    eventually("each has a part", || part(&a) < 100 && part(&b) > 0 && part(&a) + part(&b) == 100);
}
