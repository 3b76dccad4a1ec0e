//! A server that is killed, stopped, or without its standby; a log that lost its end.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    EventLog,
    store::{
        AppendError, AppendReceipt, ExpectedVersion, LogMaintenance, ReadError, StoreHealth,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use amoiq_testkit::{PostgresServer, eventually};

use crate::given::{assert_whole, connect, events, numbers, stream, whole_log, within};

fn open(server: &PostgresServer) -> Arc<PostgresStore> {
    Arc::new(connect(&PostgresOptions::new(&server.address())))
}

/// Appends one event under the same id until that succeeds.
pub(super) async fn append_at_last(store: &PostgresStore, number: u64) -> AppendReceipt {
    loop {
        let append = store.append(stream("a"), ExpectedVersion::Any, events(number..=number));
        match within(append).await {
            Ok(receipt) => return receipt,
            Err(AppendError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed() {
    let mut server = PostgresServer::start();
    let store = open(&server);
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for number in writer * 1_000..writer * 1_000 + 400 {
                    receipts.push((number, append_at_last(&store, number).await));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                receipts
            })
        })
        .collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.resume();
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
    assert_eq!(store.health(), StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_fails_appends_and_reads_in_time() {
    let server = PostgresServer::start();
    let store = open(&server);
    within(store.append(stream("a"), ExpectedVersion::Any, events(1..=1))).await.expect("appended");
    let paused = server.pause();
    let refused = within(store.append(stream("a"), ExpectedVersion::Any, events(2..=2))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    let read = within(store.event_at(store.head())).await;
    assert!(read.is_err(), "{read:?}");
    let head = within(store.current_head()).await;
    assert!(matches!(head, Err(ReadError::Unavailable(_))), "{head:?}");
    assert!(matches!(store.health(), StoreHealth::Failing(_)));
    drop(paused);
    eventually("it works again, though nobody appends", || store.health() == StoreHealth::Writable);
    append_at_last(&store, 2).await;
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_without_the_standby_that_has_to_have_it() {
    let server = PostgresServer::start();
    let store = open(&server);
    within(store.append(stream("a"), ExpectedVersion::Any, events(1..=1))).await.expect("appended");
    server.set("synchronous_standby_names", "'away'");
    let appending = tokio::spawn({
        let store = Arc::clone(&store);
        async move { within(store.append(stream("a"), ExpectedVersion::Any, events(2..=2))).await }
    });
    // An operator ends the wait. The server then answers as if the standby had the commit, and shows it.
    let is_waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    eventually("it waits for the standby", || server.ask(is_waiting) != "0");
    server.ask("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    eventually("the repeat waits too", || server.ask(is_waiting) != "0");
    let refused = appending.await.expect("appended");
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2]);
    let unconfirmed = within(store.confirm()).await;
    assert!(matches!(unconfirmed, Err(AppendError::Unavailable(_))), "{unconfirmed:?}");
    server.set("synchronous_standby_names", "''");
    within(store.confirm()).await.expect("what is stored is safe");
    let receipt = append_at_last(&store, 2).await;
    assert_eq!(receipt.position.as_u64(), 2);
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_standby_is_shown_to_nobody_however_long_it_takes() {
    let server = PostgresServer::start();
    let store = open(&server);
    within(store.append(stream("a"), ExpectedVersion::Any, events(1..=1))).await.expect("appended");
    server.set("synchronous_standby_names", "'away'");
    let refused = within(store.append(stream("a"), ExpectedVersion::Any, events(2..=2))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert_eq!(numbers(&whole_log(&*store).await), [1]);
    server.set("synchronous_standby_names", "''");
    append_at_last(&store, 2).await;
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_appended_while_commits_are_not_flushed() {
    let server = PostgresServer::start();
    let store = open(&server);
    server.set("synchronous_commit", "off");
    eventually("appends are refused", || {
        let append = store.append(stream("a"), ExpectedVersion::Any, events(1..=1));
        let answer =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(within(append)));
        matches!(answer, Err(AppendError::Unavailable(reason)) if reason.contains("synchronous_commit is off"))
    });
    server.set("synchronous_commit", "on");
    append_at_last(&store, 2).await;
    assert_eq!(store.health(), StoreHealth::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_an_event_that_the_node_knows_takes_no_append() {
    let changes = [
        "DELETE FROM amoiq.events WHERE position = 3; UPDATE amoiq.head SET position = 2",
        "UPDATE amoiq.events SET id = gen_random_uuid() WHERE position = 3",
        "UPDATE amoiq.store SET epoch = epoch + 1",
    ];
    let server = PostgresServer::start();
    for change in changes {
        let store = open(&server);
        within(store.append(stream("a"), ExpectedVersion::Any, events(1..=3))).await.expect("appended");
        server.ask(change);
        let refused = within(store.append(stream("a"), ExpectedVersion::Any, events(4..=4))).await;
        let is_told = |reason: &str| reason.starts_with("this is not the log that it was");
        assert!(matches!(&refused, Err(AppendError::Unavailable(reason)) if is_told(reason)), "{refused:?}");
        assert!(matches!(store.health(), StoreHealth::Failing(reason) if is_told(&reason)));
        // It begins another epoch, on which a node starts.
        let epoch = within(store.replaced()).await;
        let started = open(&server);
        assert_eq!(started.epoch(), epoch);
        within(started.append(stream("a"), ExpectedVersion::Any, events(5..=5))).await.expect("appended");
        drop((store, started));
        server.ask("DROP SCHEMA amoiq CASCADE");
    }
}
