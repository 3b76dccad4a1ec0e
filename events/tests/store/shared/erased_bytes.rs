//! What removing leaves in the server's files, and who may still read it.

use amoiq_events::{
    EventLog, NewEvent,
    ambient::{Entropy, OsEntropy},
    store::{
        AppendError, ExpectedVersion, LogMaintenance,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use amoiq_testkit::PostgresServer;
use tokio_postgres::NoTls;

use crate::given::{connect, event, events, numbers, stream, whole_log, within};

async fn append(store: &PostgresStore, session: &str, events: Vec<NewEvent>) {
    within(store.append(stream(session), ExpectedVersion::Any, events)).await.expect("appended");
}

/// Bytes that no compression makes shorter.
fn incompressible(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    OsEntropy.fill(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_bytes_leave_the_tables_with_the_operators_rewrite() {
    let server = PostgresServer::start();
    let store = connect(&PostgresOptions::new(&server.address()));
    // In its row, and in pieces beside the table.
    let (short, long) = (incompressible(64), incompressible(50_000));
    let erased = [(1, &short), (2, &long)].map(|(number, data)| NewEvent {
        data: data.clone().into(),
        actor: "wanda.wilkinson@example.com".into(),
        ..event(number)
    });
    append(&store, "kept", events(3..=500)).await;
    append(&store, "session-of-wanda", erased.into()).await;
    append(&store, "kept", events(501..=900)).await;
    let markers = [&short[..], &long[1_000..1_064], b"wanda.wilkinson@example.com", b"session-of-wanda"];
    for marker in markers {
        assert!(!server.table_files_with(marker).is_empty(), "the test looks where events are");
    }
    within(store.delete(stream("session-of-wanda"))).await.expect("deleted");
    within(store.scrub()).await.expect("nothing holds it back");
    assert_eq!(numbers(&whole_log(&store).await), (3..=900).collect::<Vec<_>>());
    server.ask("ANALYZE");
    server.ask("VACUUM FULL amoiq.events, amoiq.streams");
    for marker in markers {
        assert_eq!(server.table_files_with(marker), <[std::path::PathBuf; 0]>::default());
    }
    assert_eq!(numbers(&whole_log(&store).await), (3..=900).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_says_what_holds_removed_events_back() {
    let server = PostgresServer::start();
    let store = connect(&PostgresOptions::new(&server.address()));
    append(&store, "a", events(1..=3)).await;
    let address = format!("{}?application_name=a_backup", server.address());
    let (reader, driver) = tokio_postgres::connect(&address, NoTls).await.expect("connected");
    tokio::spawn(driver);
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.expect("a snapshot");
    within(store.delete(stream("a"))).await.expect("deleted");
    let holders = async || match within(store.scrub()).await {
        Err(AppendError::Unavailable(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let reason = holders().await;
    assert!(
        reason.contains("held back by the transaction of process") && reason.contains("a_backup"),
        "{reason}"
    );
    reader.batch_execute("COMMIT").await.expect("it ends");
    within(store.scrub()).await.expect("nothing holds it back");

    server.ask("SELECT pg_create_physical_replication_slot('unused', true)");
    append(&store, "b", events(4..=6)).await;
    within(store.delete(stream("b"))).await.expect("deleted");
    let reason = holders().await;
    assert!(reason.contains("held back by the replication slot unused"), "{reason}");
    server.ask("SELECT pg_drop_replication_slot('unused')");
    within(store.scrub()).await.expect("nothing holds it back");
}
