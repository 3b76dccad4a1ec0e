//! Who may make the tables, and what becomes of them when the log goes on in another epoch.

use std::process::Child;

use amoiq_actors::webhooks::{
    Delivery, DeliveryAttempt, DeliveryStatus,
    delivery_store::{DeliveryStoreError, DeliveryTotals},
};
use amoiq_events::{
    EventLog,
    postgres::PostgresOptions,
    signals::{PostgresSignals, SignalOptions},
    store::Epoch,
};
use amoiq_testkit::PostgresServer;

use crate::{
    given::SharedDatabase,
    recording::{GivenLane, at, attempt, delivery},
};

#[test]
fn a_role_that_may_not_make_schemas_makes_everything_in_its_own() {
    let server = PostgresServer::shared();
    let schema = server.new_schema();
    server.ask(&format!("CREATE ROLE narrow LOGIN; CREATE SCHEMA {schema} AUTHORIZATION narrow"));
    let options = PostgresOptions {
        schema,
        user: Some("narrow".to_owned()),
        ..PostgresOptions::new(&server.address())
    };
    let shared = SharedDatabase::on(options);
    let directory = tempfile::tempdir().expect("a directory");
    let leases = shared.leases("a", directory.path());
    let database = shared.log.database().expect("the database");
    let signals = SignalOptions { database, node: "a".into(), view: leases.view() };
    PostgresSignals::open(signals).expect("the exchange opens");
    shared.deliveries();
}

/// A lane with a delivered message at every second position, and one that waits at the others.
async fn with_deliveries(count: u64) -> GivenLane {
    let given = GivenLane::new().await;
    let statuses = [DeliveryStatus::Delivered, DeliveryStatus::Pending];
    let entries = |positions: std::ops::RangeInclusive<u64>| -> Vec<(Delivery, Option<DeliveryAttempt>)> {
        let status = |position: u64| statuses[usize::try_from(position % 2).expect("small")];
        positions.map(|position| (delivery(position, status(position)), Some(attempt(1)))).collect()
    };
    let mut first = 1;
    while first <= count {
        let last = count.min(first + 499);
        given.record(entries(first..=last)).await.expect("recorded");
        first = last + 1;
    }
    given
}

#[tokio::test]
async fn several_nodes_that_take_an_epoch_over_at_once_leave_exactly_what_both_histories_have() {
    let given = with_deliveries(1_200).await;
    given.shared.go_on_in(Epoch(1));
    let (here, there) = tokio::join!(given.here.adopt(Epoch(1), at(5)), given.there.adopt(Epoch(1), at(5)));
    here.and(there).expect("adopted");
    let counted = given.here.counts(given.lane).await.expect("counted");
    assert_eq!(counted, DeliveryTotals { pending: 3, delivered: 2, ..DeliveryTotals::default() });
    let schema = &given.shared.options.schema;
    for table in ["deliveries", "attempts"] {
        let rows = PostgresServer::shared().ask(&format!("SELECT count(*) FROM {schema}.{table}"));
        assert_eq!(rows, "5", "{table}");
    }
    assert_eq!(given.here.epoch().await.expect("an epoch"), Some(Epoch(1)));
}

/// Somebody who has a lane's row for longer than a call waits for a lock.
fn hold_lane(schema: &str) -> Child {
    let server = PostgresServer::shared();
    let held = format!(
        "SET application_name = 'holder'; BEGIN; SELECT FROM {schema}.lanes FOR UPDATE; SELECT pg_sleep(5); COMMIT"
    );
    let holding = server.ask_beside(&held);
    let holds =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event = 'PgSleep'";
    amoiq_testkit::eventually("it holds the row", || server.ask(holds) == "1");
    holding
}

#[tokio::test]
async fn whoever_takes_an_epoch_over_waits_for_who_still_writes() {
    let given = with_deliveries(9).await;
    given.shared.go_on_in(Epoch(1));
    let mut holding = hold_lane(&given.shared.options.schema);
    given.there.adopt(Epoch(1), at(5)).await.expect("adopted");
    assert_eq!(given.here.counts(given.lane).await.expect("counted").settled(), 2);
    holding.wait().expect("it ends");
}

#[tokio::test]
async fn a_node_that_starts_slowly_does_not_take_the_deliveries_back_to_an_epoch_that_is_over() {
    let given = with_deliveries(9).await;
    given.shared.go_on_in(Epoch(1));
    given.there.adopt(Epoch(1), at(5)).await.expect("adopted");
    let late = given.here.adopt(given.shared.log.epoch(), at(2)).await;
    assert!(matches!(late, Err(DeliveryStoreError::OtherEpoch)), "{late:?}");
    assert_eq!(given.here.epoch().await.expect("an epoch"), Some(Epoch(1)));
    assert_eq!(given.here.counts(given.lane).await.expect("counted").settled(), 2);
}

#[tokio::test]
async fn nothing_is_recorded_while_an_epoch_is_taken_over() {
    let given = with_deliveries(3).await;
    let schema = &given.shared.options.schema;
    PostgresServer::shared().ask(&format!("UPDATE {schema}.outbox SET adopting = 1"));
    let refused = given.record(vec![(delivery(4, DeliveryStatus::Pending), None)]).await;
    assert!(matches!(refused, Err(DeliveryStoreError::LeaseLost)), "{refused:?}");
    // Whoever began it died: the next one does all of it.
    given.shared.go_on_in(Epoch(1));
    given.there.adopt(Epoch(1), at(2)).await.expect("adopted");
    assert_eq!(given.there.counts(given.lane).await.expect("counted").pending, 1);
}
