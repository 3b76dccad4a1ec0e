//! Appends that nobody answers, or answers wrongly; subscriptions that end or fall silent; a log that was restored.

use std::time::{Duration, Instant};

use amoiq_events::{
    EventLog, Position, Version,
    store::{AppendError, ExpectedVersion, LogMaintenance, StoreHealth},
};
use amoiq_testkit::{AppendFault, KurrentServer, SubscriptionEnd, eventually};

use super::{NOTICED, append, append_at_last, open};
use crate::given::{assert_whole, events, numbers, stream, take, whole_log, within};

const FAULTS: [AppendFault; 12] = [
    AppendFault::NotLeader,
    AppendFault::NotLeaderWithoutAddress,
    AppendFault::NoLeader,
    AppendFault::Aborted { is_written: false },
    AppendFault::Aborted { is_written: true },
    AppendFault::DeadlineExceeded { is_written: false },
    AppendFault::DeadlineExceeded { is_written: true },
    AppendFault::Disconnected { is_written: false },
    AppendFault::Disconnected { is_written: true },
    AppendFault::Unanswered,
    AppendFault::EmptyAnswer,
    AppendFault::NoPosition,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_is_carried_out_once_whatever_becomes_of_its_first_try() {
    let server = KurrentServer::start();
    let store = open(&server);
    let mut version = Version::NONE;
    for (number, fault) in (1..).zip(FAULTS) {
        server.fail_append(fault);
        let expected = if number % 2 == 0 { ExpectedVersion::Any } else { ExpectedVersion::Exact(version) };
        let receipt = within(store.append(stream("a"), expected, events(number..=number))).await;
        let receipt = receipt.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        version = version.next();
        assert_eq!(receipt.version, version, "{fault:?}");
        assert!(store.head() >= receipt.position, "whoever has the answer is not ahead of the node");
        assert!(server.has_failed_all(), "{fault:?}");
    }
    assert_eq!(numbers(&whole_log(&*store).await), (1..=12).collect::<Vec<_>>());
    assert_whole(&*store).await;
    eventually("it works again", || store.health() == StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_carried_out_whatever_becomes_of_its_first_try() {
    let server = KurrentServer::start();
    let store = open(&server);
    append(&store, "kept", 100).await.expect("appended");
    for (number, fault) in (1..).zip(FAULTS) {
        append(&store, "a", number).await.expect("appended");
        server.fail_append(fault);
        within(store.delete(stream("a"))).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        append(&store, "a", number + 50).await.expect("appended");
        // The client panics at an answer that is empty.
        server.fail_metadata(fault);
        within(store.delete(stream("a"))).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(server.has_failed_all(), "{fault:?}");
        assert_eq!(numbers(&whole_log(&*store).await), [100], "{fault:?}");
    }
    assert_eq!(append(&store, "a", 99).await.expect("appended").version, Version::FIRST);
    assert_whole(&*store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_recognised_after_the_server_forgot_it() {
    let mut server = KurrentServer::start();
    let store = open(&server);
    for expected in [ExpectedVersion::NoStream, ExpectedVersion::Any] {
        let first = within(store.append(stream("a"), expected, events(1..=3))).await.expect("appended");
        tokio::task::block_in_place(|| {
            server.kill(0);
            server.resume(0);
        });
        let again = loop {
            match within(store.append(stream("a"), expected, events(1..=3))).await {
                Err(AppendError::Unavailable(_)) => {}
                answer => break answer,
            }
        };
        assert_eq!(again, Ok(first));
    }
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed() {
    let mut server = KurrentServer::start();
    let store = open(&server);
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for number in writer * 1_000..writer * 1_000 + 100 {
                    receipts.push((number, append_at_last(&store, &writer.to_string(), number).await));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                receipts
            })
        })
        .collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        tokio::task::block_in_place(|| {
            server.kill(0);
            std::thread::sleep(Duration::from_millis(300));
            server.resume(0);
        });
    }
    let mut appended = Vec::new();
    for writer in writers {
        appended.extend(within(writer).await.expect("wrote"));
    }
    assert_whole(&*store).await;
    let log = whole_log(&*store).await;
    appended.sort_by_key(|(_, receipt)| receipt.position);
    let positions: Vec<_> = log.iter().map(|event| event.position).collect();
    assert_eq!(appended.iter().map(|(_, receipt)| receipt.position).collect::<Vec<_>>(), positions);
    assert_eq!(appended.iter().map(|(number, _)| *number).collect::<Vec<_>>(), numbers(&log));
    eventually("it works again", || store.health() == StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_although_subscriptions_end() {
    let server = KurrentServer::start();
    let [writer, reader] = [(); 2].map(|()| open(&server));
    let mut subscription = reader.subscribe(Position::START);
    for (number, end) in (1..).zip([SubscriptionEnd::Clean, SubscriptionEnd::Failed]) {
        append(&writer, "a", number * 2).await.expect("appended");
        assert_eq!(numbers(&take(&mut subscription, 1).await), [number * 2]);
        server.end_subscriptions(end);
        append(&writer, "a", number * 2 + 1).await.expect("appended");
        assert_eq!(numbers(&take(&mut subscription, 1).await), [number * 2 + 1], "{end:?}");
    }
    eventually("it works again", || reader.health() == StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_falls_silent_is_replaced() {
    let server = KurrentServer::start();
    let [writer, reader] = [(); 2].map(|()| open(&server));
    let mut subscription = reader.subscribe(Position::START);
    append(&writer, "a", 1).await.expect("appended");
    take(&mut subscription, 1).await;
    server.silence_subscriptions(true);
    let since = Instant::now();
    for number in 2..=6 {
        append(&writer, "a", number).await.expect("appended");
        assert_eq!(numbers(&take(&mut subscription, 1).await), [number]);
    }
    assert!(since.elapsed() < NOTICED * 2, "each is found by a read beside the subscription");
    server.silence_subscriptions(false);
    eventually("a new subscription brings events at once", || {
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let appended = append(&writer, "b", rand_number(&since)).await.expect("appended");
                let since = Instant::now();
                while reader.head() < appended.position {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                since.elapsed() < Duration::from_millis(300)
            })
        })
    });
}

/// A number that no other event of the test has.
fn rand_number(since: &Instant) -> u64 {
    1_000_000 + u64::try_from(since.elapsed().as_micros()).expect("small")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_the_server_finds_too_large_is_refused_and_stops_nobody() {
    let server = KurrentServer::start();
    let store = open(&server);
    server.limit_appends(1_000);
    let refused = within(store.append(stream("a"), ExpectedVersion::Any, events(1..=100))).await;
    assert!(
        matches!(&refused, Err(AppendError::Unavailable(reason)) if reason.contains("Maximum Append Size")),
        "{refused:?}"
    );
    append(&store, "a", 101).await.expect("appended");
    assert_eq!(numbers(&whole_log(&*store).await), [101]);
    assert_eq!(store.health(), StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_waited_for() {
    let server = KurrentServer::start();
    let store = open(&server);
    server.delay(Duration::from_millis(600));
    append(&store, "a", 1).await.expect("appended");
    assert_eq!(numbers(&whole_log(&*store).await), [1]);
    server.delay(Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_fails_appends_and_reads_in_time() {
    let server = KurrentServer::start();
    let store = open(&server);
    append(&store, "a", 1).await.expect("appended");
    server.black_hole(0, true);
    let since = Instant::now();
    let refused = append(&store, "a", 2).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert!(since.elapsed() < Duration::from_secs(17), "{:?}", since.elapsed());
    let read = within(store.event_at(store.head())).await;
    assert!(read.is_err(), "{read:?}");
    assert!(matches!(store.health(), StoreHealth::Failing(_)));
    server.black_hole(0, false);
    append_at_last(&store, "a", 2).await;
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2]);
    eventually("it works again", || store.health() == StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_an_event_that_the_node_knows_takes_no_append() {
    let server = KurrentServer::start();
    let store = open(&server);
    append(&store, "a", 1).await.expect("appended");
    let backup = server.backup();
    append(&store, "a", 2).await.expect("appended");
    server.restore(&backup);
    let is_told = |reason: &str| reason.starts_with("this is not the log that it was");
    eventually(
        "it is noticed",
        || matches!(store.health(), StoreHealth::Failing(reason) if is_told(&reason)),
    );
    let refused = append(&store, "b", 3).await;
    assert!(matches!(&refused, Err(AppendError::Unavailable(reason)) if is_told(reason)), "{refused:?}");
    // A node that starts on it without a directory knows no better.
    let started = open(&server);
    append(&started, "b", 4).await.expect("appended");
    assert_eq!(numbers(&whole_log(&*started).await), [1, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_append_goes_to_a_log_that_was_restored_before_it() {
    let server = KurrentServer::start();
    let store = open(&server);
    let backup = server.backup();
    append(&store, "a", 1).await.expect("appended");
    server.restore(&backup);
    let refused = append(&store, "b", 2).await;
    assert!(matches!(&refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    let started = open(&server);
    assert!(whole_log(&*started).await.is_empty());
}
