//! Which addresses and servers are refused at the start, and in what words.

use amoiq_events::{
    Ambient, EventLog,
    store::kurrentdb::{KurrentOptions, KurrentStore},
};
use amoiq_testkit::KurrentServer;

use super::append;
use crate::given::{connect_kurrent, whole_log};

/// Why a store does not open.
fn refusal(options: &KurrentOptions) -> String {
    match KurrentStore::open(options, &Ambient::system()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_server_that_is_not_there_is_refused_in_time() {
    let reason = refusal(&KurrentOptions::new("esdb://127.0.0.1:1?tls=false"));
    assert!(reason.contains("refused"), "{reason}");
    let reason =
        refusal(&KurrentOptions { log: "a b".to_owned(), ..KurrentOptions::new("esdb://localhost") });
    assert!(reason.contains("`a b` is no name for a log"), "{reason}");
    let reason = refusal(&KurrentOptions::new("esdb://db.example.com?tls=false"));
    assert!(reason.contains("leaves the connection"), "{reason}");
}

#[test]
fn a_log_that_has_to_exist_is_not_made() {
    let server = KurrentServer::start();
    let options = KurrentOptions::new(&server.address());
    let reason =
        KurrentStore::open_existing(&options, &Ambient::system()).err().expect("refused").to_string();
    assert!(reason.contains("there is no log `amoiq`"), "{reason}");
    let made = connect_kurrent(&options);
    let found = KurrentStore::open_existing(&options, &Ambient::system()).expect("it opens");
    assert_eq!(found.epoch(), made.epoch());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_one_database_know_nothing_of_each_other() {
    let server = KurrentServer::start();
    let logs = ["one", "two", "one_more"].map(|log| {
        connect_kurrent(&KurrentOptions { log: log.to_owned(), ..KurrentOptions::new(&server.address()) })
    });
    for (number, log) in (1..).zip(&logs) {
        append(log, "a", number).await.expect("appended");
    }
    for log in &logs {
        assert_eq!(whole_log(log).await.len(), 1);
    }
    let epochs: std::collections::HashSet<_> = logs.iter().map(EventLog::epoch).collect();
    assert_eq!(epochs.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_make_a_log_once() {
    let server = KurrentServer::start();
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let options = KurrentOptions::new(&server.address());
            tokio::task::spawn_blocking(move || connect_kurrent(&options))
        })
        .collect();
    let mut epochs = Vec::new();
    for (number, node) in (1..).zip(opening) {
        let node = node.await.expect("opened");
        append(&node, "a", number).await.expect("appended");
        epochs.push(node.epoch());
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1);
}
