//! Two nodes that write and follow one log in KurrentDB.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use amoiq_events::{
    EventLog, Position, Version,
    store::{AppendError, ExpectedVersion, LogMaintenance, ReadDirection, kurrentdb::KurrentStore},
};
use amoiq_testkit::KurrentServer;

use super::NOTICED;
use crate::given::{
    connect_kurrent, events, new_kurrent_log, numbers, stream, take, versions, whole_log, within,
};

/// Two nodes, and the server if it ends with them.
fn two_nodes() -> (Option<KurrentServer>, [Arc<KurrentStore>; 2]) {
    let (options, server) = new_kurrent_log();
    let nodes = [(); 2].map(|()| Arc::new(connect_kurrent(&options)));
    (server, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_follows_what_all_of_them_append_in_one_order() {
    const EACH: u64 = 400;
    let (_server, nodes) = two_nodes();
    let writers: Vec<_> = (0..8_u64)
        .map(|writer| {
            let node = Arc::clone(&nodes[usize::from(writer % 2 == 1)]);
            tokio::spawn(async move {
                for number in writer * EACH..(writer + 1) * EACH {
                    let append = node.append(
                        stream(&format!("{}", number % 5)),
                        ExpectedVersion::Any,
                        events(number..=number),
                    );
                    let receipt = within(append).await.expect("appended");
                    assert!(
                        node.head() >= receipt.position,
                        "whoever has the answer is not ahead of the node"
                    );
                }
            })
        })
        .collect();
    let total = usize::try_from(8 * EACH).expect("small");
    let subscribers: Vec<_> = nodes
        .iter()
        .map(|node| {
            let mut subscription = node.subscribe(Position::START);
            tokio::spawn(async move { take(&mut subscription, total).await })
        })
        .collect();
    for writer in writers {
        within(writer).await.expect("wrote");
    }
    let log = whole_log(&*nodes[0]).await;
    assert_eq!(log.len(), total);
    for subscriber in subscribers {
        assert!(within(subscriber).await.expect("took") == log, "each node hands out the log, in its order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_wins_each_version_and_the_other_is_told_it() {
    let (_server, nodes) = two_nodes();
    let writers = [0, 1].map(|writer: usize| {
        let node = Arc::clone(&nodes[writer]);
        tokio::spawn(async move {
            for version in 0..100 {
                let expected = ExpectedVersion::Exact(Version::from_u64(version));
                let number = version * 2 + writer as u64;
                match within(node.append(stream("a"), expected, events(number..=number))).await {
                    Ok(receipt) => assert_eq!(receipt.version, Version::from_u64(version + 1)),
                    Err(AppendError::Conflict { actual, .. }) => assert!(actual.as_u64() > version),
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for writer in writers {
        within(writer).await.expect("wrote");
    }
    assert_eq!(versions(&whole_log(&*nodes[1]).await), (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_on_another_node_gives_the_first_answer() {
    let (_server, [a, b]) = two_nodes();
    for expected in [ExpectedVersion::NoStream, ExpectedVersion::Any] {
        let first = within(a.append(stream("a"), expected, events(1..=3))).await;
        let again = within(b.append(stream("a"), expected, events(1..=3))).await;
        assert_eq!(first, again);
        assert!(b.head() >= again.expect("a repeat").position);
    }
    assert_eq!(numbers(&whole_log(&*b).await), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_on_one_node_is_in_the_next_read_on_another() {
    let (_server, [a, b]) = two_nodes();
    for number in 1..=300 {
        within(a.append(stream("a"), ExpectedVersion::Any, events(number..=number))).await.expect("appended");
        let newest = b.read_stream(stream("a"), Version::LAST, ReadDirection::Backward, 1);
        assert_eq!(numbers(&within(newest).await.expect("read")), [number]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_of_an_event_before_it_reads_the_log_again() {
    let (_server, [a, b]) = two_nodes();
    let mut subscription = b.subscribe(Position::START);
    let mut delays = Vec::new();
    for number in 1..=21 {
        let appended = Instant::now();
        within(a.append(stream("a"), ExpectedVersion::Any, events(number..=number))).await.expect("appended");
        take(&mut subscription, 1).await;
        delays.push(appended.elapsed());
        // Not in step with the polls.
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    delays.sort();
    assert!(delays[10] < Duration::from_millis(200), "{delays:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_removed_is_forgotten() {
    let (_server, [a, b]) = two_nodes();
    for (session, numbers) in [("a", 1..=3), ("b", 4..=5)] {
        within(a.append(stream(session), ExpectedVersion::Any, events(numbers))).await.expect("appended");
    }
    let mut follower = b.subscribe(Position::START);
    assert_eq!(take(&mut follower, 5).await.len(), 5);
    within(a.delete(stream("a"))).await.expect("deleted");
    let since = Instant::now();
    loop {
        let mut late = b.subscribe(Position::START);
        let batch = within(late.next()).await.expect("read").expect("the store is open");
        if numbers(&batch.events) == [4, 5] {
            break;
        }
        assert!(since.elapsed() < NOTICED, "the node still hands out what was removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    within(a.append(stream("a"), ExpectedVersion::NoStream, events(6..=6))).await.expect("a new stream");
    assert_eq!(numbers(&take(&mut follower, 1).await), [6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_current_head_has_what_another_node_acknowledged_before() {
    let (_server, [a, b]) = two_nodes();
    for number in 1..=300 {
        let append = a.append(stream("a"), ExpectedVersion::Any, events(number..=number));
        let appended = within(append).await.expect("appended").position;
        let head = within(b.current_head()).await.expect("the head");
        assert!(head >= appended && b.head() >= head, "{appended} {head} {}", b.head());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_ask_for_the_current_head_at_once() {
    let (_server, [a, b]) = two_nodes();
    let appended =
        within(a.append(stream("a"), ExpectedVersion::Any, events(1..=1))).await.expect("appended");
    let asking: Vec<_> = (0..2_000)
        .map(|_| {
            let b = Arc::clone(&b);
            tokio::spawn(async move { within(b.current_head()).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.expect("it ends"), Ok(appended.position));
    }
}
