//! A file of the first release can be opened, and keeps its content.

use std::{path::Path, time::Duration};

use amoiq_actors::webhooks::{
    delivery::{DeliveryStatus, HoldOff},
    delivery_store::{DeliveryStore, DeliveryStoreError, DeliveryTotals},
};
use amoiq_events::{TenantId, Timestamp, store::sqlite::row_checksum::checksum};
use rusqlite::{Connection, params_from_iter, types::Value};

use crate::{
    delivery_store::given::{at, message_of, webhook},
    given::{in_real_time, tenant},
};

const FIRST: &str = "
    CREATE TABLE meta (schema INTEGER PRIMARY KEY, epoch INTEGER, checksum INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE lanes (id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, webhook TEXT NOT NULL,
        cursor INTEGER NOT NULL, failing_since INTEGER, not_before INTEGER, replay_after INTEGER,
        replay_until INTEGER, replay_cursor INTEGER, replay_begun INTEGER, replay_ended INTEGER,
        pending INTEGER NOT NULL, delivered INTEGER NOT NULL, failed INTEGER NOT NULL,
        checksum INTEGER NOT NULL, UNIQUE (tenant, webhook));
    CREATE TABLE deliveries (lane INTEGER NOT NULL, position INTEGER NOT NULL, event_id BLOB NOT NULL,
        message_id BLOB NOT NULL, session TEXT NOT NULL, status INTEGER NOT NULL, tries INTEGER NOT NULL,
        next_at INTEGER, holds INTEGER NOT NULL, changed_at INTEGER NOT NULL, attempts INTEGER NOT NULL,
        checksum INTEGER NOT NULL, PRIMARY KEY (lane, position)) WITHOUT ROWID;
    CREATE INDEX deliveries_by_status ON deliveries (lane, status, position);
    CREATE INDEX deliveries_by_time ON deliveries (lane, changed_at) WHERE status <> 0;
    CREATE INDEX deliveries_by_message ON deliveries (lane, message_id);
    CREATE TABLE attempts (lane INTEGER NOT NULL, position INTEGER NOT NULL, number INTEGER NOT NULL,
        at INTEGER NOT NULL, duration_ms INTEGER NOT NULL, status INTEGER, error TEXT, answer BLOB NOT NULL,
        checksum INTEGER NOT NULL, PRIMARY KEY (lane, position, number)) WITHOUT ROWID;";

fn put(conn: &Connection, table: &str, mut columns: Vec<Value>) {
    let sum = checksum(columns.iter().map(Into::into));
    columns.push(sum.into());
    let places = vec!["?"; columns.len()].join(", ");
    conn.execute(&format!("INSERT INTO {table} VALUES ({places})"), params_from_iter(columns))
        .expect("a row");
}

fn lane(conn: &Connection, id: i64, name: &str, counts: [i64; 3]) {
    let mut columns: Vec<Value> = vec![id.into(), "acme".to_owned().into(), name.to_owned().into()];
    columns.extend([9, 3, 4].map(Value::from));
    columns.extend([const { Value::Null }; 5]);
    columns.extend(counts.map(Value::from));
    put(conn, "lanes", columns);
}

fn delivery(conn: &Connection, lane: i64, position: u64, status: i64) {
    let number = i64::try_from(position).expect("few");
    let event = u128::from(position).to_be_bytes().to_vec();
    let message = message_of(position).as_bytes().to_vec();
    let mut columns: Vec<Value> = vec![lane.into(), number.into(), event.into(), message.into()];
    columns.push(format!("session-{position}").into());
    columns.extend([status, 1].map(Value::from));
    columns.push(if status == 0 { 77.into() } else { Value::Null });
    columns.extend([1_i64, 1_705_314_600_000, 0].map(Value::from));
    put(conn, "deliveries", columns);
}

/// The file as the first release left it: the lanes 1 and 2, and a third that was removed.
fn left(path: &Path) -> Connection {
    let conn = Connection::open(path).expect("a file");
    conn.execute_batch(FIRST).expect("tables");
    put(&conn, "meta", vec![1.into(), 42.into()]);
    lane(&conn, 1, "a", [1, 1, 1]);
    (4..7).for_each(|position| delivery(&conn, 1, position, i64::try_from(position).expect("few") - 4));
    lane(&conn, 2, "b", [1, 0, 0]);
    delivery(&conn, 2, 4, 0);
    lane(&conn, 7, "gone", [0, 0, 0]);
    conn.execute("DELETE FROM lanes WHERE id = 7", []).expect("it goes");
    conn
}

#[test]
fn an_outbox_of_the_first_release_keeps_its_contents() {
    in_real_time(async {
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("outbox.db");
        drop(left(&path));
        for _ in 0..2 {
            let outbox = DeliveryStore::open(&path).expect("it opens");
            let (lane, marks) = outbox.lane(&tenant(), &webhook("a"), at(0)).await.expect("the lane");
            let hold_off = HoldOff { until: Timestamp::from_millis(4), wait: Duration::from_hours(24) };
            assert_eq!((marks.cursor, marks.hold_off), (at(9), Some(hold_off)));
            let counts = DeliveryTotals { pending: 1, delivered: 1, failed: 1, ..DeliveryTotals::default() };
            assert_eq!(outbox.counts(lane).await.expect("counts"), counts);
            let pending = outbox.unsettled(lane).await.expect("deliveries");
            let [waiting] = pending.as_slice() else { panic!("{pending:?}") };
            assert_eq!((waiting.position, waiting.status), (at(4), DeliveryStatus::Pending));
            assert_eq!((waiting.next_at, waiting.refused_at), (Some(Timestamp::from_millis(77)), None));
            let failed = outbox.find(lane, message_of(6)).await.expect("an answer").expect("a delivery");
            assert_eq!(failed.status, DeliveryStatus::Failed);
        }
        let outbox = DeliveryStore::open(&path).expect("it opens");
        let others = TenantId::parse("other").expect("an id");
        outbox.lane(&others, &webhook("a"), at(0)).await.expect("a lane");
        let conn = Connection::open(&path).expect("a file");
        let newest: i64 =
            conn.query_row("SELECT max(id) FROM lanes", [], |row| row.get(0)).expect("a number");
        assert_eq!(newest, 8, "the number of a lane that is gone is not given again");
    });
}

#[test]
fn damage_from_the_first_release_stays_damage_after_migration() {
    in_real_time(async {
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("outbox.db");
        let conn = left(&path);
        conn.execute("UPDATE deliveries SET tries = 9 WHERE lane = 1 AND position = 4", []).expect("damage");
        conn.execute("UPDATE lanes SET cursor = 8 WHERE id = 2", []).expect("damage");
        drop(conn);
        let outbox = DeliveryStore::open(&path).expect("it opens");
        let (lane, _) = outbox.lane(&tenant(), &webhook("a"), at(0)).await.expect("the lane");
        let pending = outbox.unsettled(lane).await;
        assert!(matches!(pending, Err(DeliveryStoreError::Damaged("deliveries"))), "{pending:?}");
        let second = outbox.lane(&tenant(), &webhook("b"), at(0)).await;
        assert!(matches!(second, Err(DeliveryStoreError::Damaged("lanes"))), "{second:?}");
    });
}
