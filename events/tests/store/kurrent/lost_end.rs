//! A log that lost its end while a node was away goes on in another epoch.

use std::path::Path;

use amoiq_events::{
    EventLog, Position,
    store::{Epoch, LogMaintenance, kurrentdb::KurrentOptions},
};
use amoiq_testkit::KurrentServer;

use super::append;
use crate::given::{connect_kurrent, numbers, whole_log};

/// A node that keeps what it knows in a directory.
fn options(server: &KurrentServer, directory: &Path) -> KurrentOptions {
    KurrentOptions { directory: Some(directory.to_owned()), ..KurrentOptions::new(&server.address()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_on_a_restored_log_begins_an_epoch_and_tells_what_is_common() {
    let (server, directory) = (KurrentServer::start(), tempfile::tempdir().expect("a directory"));
    let own = options(&server, directory.path());
    let store = connect_kurrent(&own);
    let first = append(&store, "a", 1).await.expect("appended");
    let old = store.epoch();
    drop(store);
    let backup = server.backup();
    let store = connect_kurrent(&own);
    assert_eq!((store.epoch(), store.common_with(old)), (old, first.position));
    for number in 2..=4 {
        append(&store, "a", number).await.expect("appended");
    }
    drop(store);
    server.restore(&backup);

    let store = connect_kurrent(&own);
    let new = store.epoch();
    assert_ne!(new, old);
    assert_eq!(store.common_with(old), first.position);
    assert_eq!(store.common_with(Epoch(1)), Position::START, "nobody knows that one");
    append(&store, "a", 5).await.expect("appended");
    assert_eq!(numbers(&whole_log(&store).await), [1, 5]);
    drop(store);
    let store = connect_kurrent(&own);
    assert_eq!((store.epoch(), store.common_with(old)), (new, first.position), "once");
    drop(store);
    let store = connect_kurrent(&KurrentOptions::new(&server.address()));
    assert_eq!((store.epoch(), store.common_with(old)), (new, first.position), "also for other nodes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_and_scavenged_is_no_loss() {
    let (server, directory) = (KurrentServer::start(), tempfile::tempdir().expect("a directory"));
    let own = options(&server, directory.path());
    let store = connect_kurrent(&own);
    append(&store, "a", 1).await.expect("appended");
    let epoch = store.epoch();
    drop(store);
    let other = connect_kurrent(&KurrentOptions::new(&server.address()));
    other.delete(crate::given::stream("a")).await.expect("deleted");
    other.scrub().await.expect("scrubbed");
    drop(other);
    assert_eq!(connect_kurrent(&own).epoch(), epoch);
}
