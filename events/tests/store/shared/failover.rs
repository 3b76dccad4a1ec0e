//! A standby that is promoted: with everything that was acknowledged, and without.

use std::{path::Path, sync::Arc, time::Duration};

use amoiq_events::{
    EventLog, Position,
    store::{
        AppendError, AppendReceipt, Epoch, ExpectedVersion, LogMaintenance, StoreHealth,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use amoiq_testkit::{PostgresServer, eventually};
use tempfile::TempDir;

use super::faults::append_at_last;
use crate::given::{assert_whole, connect, events, numbers, stream, whole_log, within};

/// A primary, its standby, and a node's data directory.
struct Pair {
    primary: PostgresServer,
    standby: PostgresServer,
    directory: TempDir,
}

impl Pair {
    /// With a standby that nothing waits for.
    fn asynchronous() -> Self {
        let primary = PostgresServer::start();
        let standby = primary.start_standby("standby");
        Self { primary, standby, directory: tempfile::tempdir().expect("a directory") }
    }

    /// With a standby that has everything before it is acknowledged.
    fn synchronous() -> Self {
        let pair = Self::asynchronous();
        pair.primary.set("synchronous_standby_names", "'standby'");
        let is_synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        eventually("the standby is synchronous", || pair.primary.ask(is_synchronous) == "1");
        pair
    }

    /// Opens the log on whichever of the two takes writes, as a node that keeps what it knows here.
    fn open_in(&self, directory: Option<&Path>) -> Arc<PostgresStore> {
        let (primary, standby) = (self.primary.port(), self.standby.port());
        let address = format!("postgres://amoiq@127.0.0.1:{primary},127.0.0.1:{standby}/postgres");
        let directory = directory.map(Path::to_owned);
        Arc::new(connect(&PostgresOptions { directory, ..PostgresOptions::new(&address) }))
    }

    fn open(&self) -> Arc<PostgresStore> {
        self.open_in(Some(self.directory.path()))
    }

    /// Loses what `lost` writes: the standby does not get it, and is promoted.
    async fn lose(&mut self, lost: impl Future<Output = ()>) {
        self.standby.catch_up(&self.primary);
        self.standby.cut_off();
        lost.await;
        self.primary.kill();
        self.standby.promote();
    }
}

async fn append(store: &PostgresStore, numbers: std::ops::RangeInclusive<u64>) -> AppendReceipt {
    let append = store.append(stream("a"), ExpectedVersion::Any, events(numbers));
    within(append).await.expect("appended")
}

/// The next epoch, which a node finds by itself. From then on it refuses everything.
async fn replaced(store: &PostgresStore) -> Epoch {
    let epoch = within(store.replaced()).await;
    assert_ne!(epoch, store.epoch());
    let refused = within(store.append(stream("a"), ExpectedVersion::Any, events(99..=99))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    let refused = within(store.read_all(Position::START, 10)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(matches!(store.health(), StoreHealth::Failing(_)));
    epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_nodes_find_one_new_epoch_when_acknowledged_events_are_lost() {
    let mut pair = Pair::asynchronous();
    let (a, b) = (pair.open(), pair.open_in(None));
    append(&a, 1..=5).await;
    let lost = async {
        append(&a, 6..=8).await;
        eventually("the other node follows", || b.head().as_u64() == 8);
    };
    pair.lose(lost).await;
    let (before, epoch) = (a.epoch(), replaced(&a).await);
    assert_eq!(replaced(&b).await, epoch, "both find the same");
    drop((a, b));

    let (a, b) = (pair.open(), pair.open_in(None));
    assert_eq!([a.epoch(), b.epoch()], [epoch, epoch]);
    assert_eq!(a.common_with(before).as_u64(), 5);
    assert_eq!(a.common_with(epoch), Position::END);
    assert_eq!(append(&b, 9..=9).await.position.as_u64(), 6);
    assert_eq!(append(&a, 10..=10).await.position.as_u64(), 7);
    assert_eq!(numbers(&whole_log(&*a).await), [1, 2, 3, 4, 5, 9, 10]);
    assert_eq!(pair.standby.ask("SELECT count(*) FROM amoiq.epochs"), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_finds_the_loss_when_it_starts() {
    let mut pair = Pair::asynchronous();
    let store = pair.open();
    let before = store.epoch();
    append(&store, 1..=5).await;
    pair.lose(async {
        append(&store, 6..=8).await;
        drop(store);
    })
    .await;
    let store = pair.open();
    assert_ne!(store.epoch(), before);
    assert_eq!(store.common_with(before).as_u64(), 5);
    assert_eq!(append(&store, 9..=9).await.position.as_u64(), 6);
    let epoch = store.epoch();
    drop(store);
    assert_eq!(pair.open().epoch(), epoch, "a start that lost nothing begins none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_is_found_after_others_went_on_where_the_log_ended() {
    let mut pair = Pair::asynchronous();
    let store = pair.open();
    append(&store, 1..=5).await;
    pair.lose(async {
        append(&store, 6..=8).await;
        drop(store);
    })
    .await;
    // It knows none of the lost events.
    let other = pair.open_in(None);
    let before = other.epoch();
    append(&other, 11..=20).await;
    let store = pair.open();
    assert_eq!(replaced(&other).await, store.epoch());
    assert_eq!(store.common_with(before).as_u64(), 5, "both histories go on from there");
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_replaced_gets_nothing() {
    let mut pair = Pair::asynchronous();
    let store = pair.open();
    append(&store, 1..=5).await;
    pair.lose(std::future::ready(())).await;
    assert_eq!(append_at_last(&store, 6).await.position.as_u64(), 6);
    // It comes back as it was, and is the first in the address.
    tokio::task::block_in_place(|| pair.primary.resume());
    let end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'amoiq'";
    for number in 7..=12 {
        pair.standby.ask(end_all);
        append_at_last(&store, number).await;
    }
    let epoch = store.epoch();
    drop(store);
    let store = pair.open();
    assert_eq!(append(&store, 13..=13).await.position.as_u64(), 13);
    assert_eq!((store.epoch(), pair.primary.ask("SELECT position FROM amoiq.head")), (epoch, "5".to_owned()));
    pair.standby.kill();
    drop(store);
    let alone = PostgresOptions {
        directory: Some(pair.directory.path().to_owned()),
        ..PostgresOptions::new(&pair.primary.address())
    };
    let refused = PostgresStore::open(&alone, &amoiq_events::Ambient::system()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("timeline 1, and this node has seen 2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_a_synchronous_standby_is_promoted() {
    let mut pair = Pair::synchronous();
    let store = pair.open();
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for number in writer * 1_000..writer * 1_000 + 300 {
                    receipts.push((append_at_last(&store, number).await.position, number));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                receipts
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::block_in_place(|| {
        pair.primary.kill();
        pair.standby.promote();
    });
    let mut appended = Vec::new();
    for writer in writers {
        appended.extend(within(writer).await.expect("wrote"));
    }
    appended.sort_unstable();
    let log = whole_log(&*store).await;
    let found: Vec<_> = log.iter().map(|event| event.position).zip(numbers(&log)).collect();
    assert_eq!(appended, found, "everything acknowledged, once, where it was acknowledged");
    assert_whole(&*store).await;
    assert_eq!(store.health(), StoreHealth::Writable);
    assert_eq!(pair.standby.ask("SELECT count(*) FROM amoiq.epochs"), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_standby_is_gone_is_answered_once_it_is_back() {
    let mut pair = Pair::synchronous();
    let store = pair.open();
    append(&store, 1..=1).await;
    pair.standby.stop();
    let waiting = within(store.append(stream("a"), ExpectedVersion::Any, events(2..=2))).await;
    assert!(
        matches!(waiting, Err(AppendError::Unavailable(_))),
        "it is not known whether it lasts: {waiting:?}"
    );
    let appending = tokio::spawn({
        let store = Arc::clone(&store);
        async move { append_at_last(&store, 2).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!appending.is_finished(), "no repeat is acknowledged without the standby");
    tokio::task::block_in_place(|| pair.standby.resume());
    assert_eq!(within(appending).await.expect("appended").position.as_u64(), 2);
    pair.standby.catch_up(&pair.primary);
    assert_eq!(pair.standby.ask("SELECT count(*) FROM amoiq.events"), "2");
    append_at_last(&store, 3).await;
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2, 3]);
}
