//! Which servers and schemas are refused at the start, and in what words.

use amoiq_events::{
    Ambient, EventLog,
    store::{
        ExpectedVersion,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use amoiq_testkit::PostgresServer;

use crate::given::{connect, events, stream, within};

/// Why a store does not open.
fn refusal(options: &PostgresOptions) -> String {
    match PostgresStore::open(options, &Ambient::system()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_schema_of_a_newer_release_is_refused() {
    let server = PostgresServer::shared();
    let options = PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) };
    drop(connect(&options));
    server.ask(&format!("UPDATE {}.parts SET release = 99 WHERE name = 'log'", options.schema));
    let reason = refusal(&options);
    assert!(reason.contains("newer release (99"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_nodes_make_a_schema_once() {
    let server = PostgresServer::shared();
    let options = PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) };
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::task::spawn_blocking(move || connect(&options))
        })
        .collect();
    let mut epochs = Vec::new();
    for (number, node) in (1..).zip(opening) {
        let node = node.await.expect("opened");
        within(node.append(stream("a"), ExpectedVersion::Any, events(number..=number)))
            .await
            .expect("appended");
        epochs.push(node.epoch());
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1);
}

#[test]
fn a_server_that_may_lose_what_it_acknowledges_is_refused_unless_that_is_allowed() {
    let server = PostgresServer::start();
    let options = PostgresOptions::new(&server.address());
    for (setting, value) in [("synchronous_commit", "off"), ("fsync", "off"), ("full_page_writes", "off")] {
        server.set(setting, value);
        let reason = refusal(&options);
        assert!(reason.contains(&format!("`{setting}` = `{value}`")), "{reason}");
        drop(connect(&PostgresOptions { may_be_lost: true, ..options.clone() }));
        server.set(setting, "on");
    }
    drop(connect(&options));
}

#[test]
fn a_database_that_cannot_hold_every_text_is_refused() {
    let server = PostgresServer::shared();
    server.ask("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'");
    let address = format!("postgres://amoiq@127.0.0.1:{}/latin", server.port());
    let reason = refusal(&PostgresOptions::new(&address));
    assert!(reason.contains("LATIN1"), "{reason}");
}

#[test]
fn a_server_that_is_not_there_is_refused_in_time() {
    let reason = refusal(&PostgresOptions::new("postgres://amoiq@127.0.0.1:1/postgres"));
    assert!(reason.contains("refused"), "{reason}");
    let reason =
        refusal(&PostgresOptions { schema: "a b".to_owned(), ..PostgresOptions::new("postgres://host/db") });
    assert!(reason.contains("`a b` is no name for a schema"), "{reason}");
}

#[test]
fn a_pooler_that_shares_connections_between_transactions_is_refused() {
    let server = PostgresServer::shared();
    let options =
        |address: &str| PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(address) };
    let by_transaction = server.start_pooler("transaction");
    let reason = refusal(&options(&by_transaction.address()));
    assert!(reason.contains("shares connections between transactions"), "{reason}");
    let by_session = server.start_pooler("session");
    drop(connect(&options(&by_session.address())));
}
