//! What the store reports about damage: that there is some, where, and what to do. It never returns a damaged value.

use std::{fs, path::Path};

use amoiq_actors::webhooks::{
    delivery::{DeliveryStatus, LaneProgress},
    delivery_store::{DeliveriesQuery, DeliveryStore, DeliveryStoreError, DeliveryTotals, LaneId},
};
use amoiq_events::{TenantId, store::Epoch};
use rusqlite::types::Value;

use crate::{
    delivery_store::given::{GivenOutbox, at, attempt, delivery, free_lease, settled, webhook},
    given::{in_real_time, tenant},
};

const TABLES: [&str; 4] = ["meta", "lanes", "deliveries", "attempts"];

const ALL: DeliveriesQuery = DeliveriesQuery { status: None, before: None, limit: 100 };

#[test]
fn a_change_of_any_column_of_any_table_is_detected() {
    in_real_time(async {
        let given = GivenOutbox::new();
        given.outbox.adopt(Epoch(1), at(50)).await.expect("a log");
        let lane = given.lane().await;
        // With a changed lane number, the row belongs to the next lane.
        let (next, _) = given.outbox.lane(&tenant(), &webhook("b"), at(0)).await.expect("a lane");
        given.outbox.remove(next).await.expect("it goes");
        let entries = vec![(settled(3).0, Some(attempt("no")))];
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), entries)
            .await
            .expect("it is recorded");
        let conn = given.conn();
        for table in TABLES {
            assert_eq!(given.rows(table), 1);
            read_all(&given.outbox, lane).await.expect("nothing is damaged yet");
            let sql = format!("SELECT * FROM {table}");
            let statement = conn.prepare(&sql).expect("a table");
            let columns: Vec<_> = statement.column_names().map(str::to_owned).collect();
            for column in columns {
                let sql = format!("SELECT {column} FROM {table}");
                let whole: Value = conn.query_row(&sql, [], |row| row.get(0)).expect("a value");
                let update = format!("UPDATE {table} SET {column} = ?1");
                conn.execute(&update, [altered(&whole)]).expect("it is damaged");
                let read = match read_all(&given.outbox, lane).await {
                    Ok(()) => given.outbox.deliveries(next, ALL).await.map(drop),
                    damaged => damaged,
                };
                let said = matches!(read, Err(DeliveryStoreError::Damaged(damaged)) if damaged == table);
                assert!(said, "{table}.{column}: {read:?}");
                conn.execute(&update, [whole]).expect("it is mended");
            }
        }
    });
}

#[test]
fn a_damaged_lane_affects_no_other() {
    in_real_time(async {
        let given = GivenOutbox::new();
        given.outbox.adopt(Epoch(1), at(50)).await.expect("a log");
        let lane = given.lane().await;
        let others = TenantId::parse("other").expect("an id");
        let (other, _) = given.outbox.lane(&others, &webhook("b"), at(0)).await.expect("a lane");
        for lane in [lane, other] {
            given
                .outbox
                .record(&free_lease(), lane, LaneProgress::default(), vec![settled(5)])
                .await
                .expect("it is recorded");
        }
        given.conn().execute("UPDATE lanes SET cursor = cursor + 1 WHERE webhook = 'a'", []).expect("damage");
        let outbox = given.killed();
        outbox.adopt(Epoch(2), at(40)).await.expect("another log");
        let owners = outbox.lanes().await.expect("lanes");
        assert!(matches!(&owners[..], [(_, Err(_)), (_, Ok(_))]), "{owners:?}");
        outbox.lane(&tenant(), &webhook("c"), at(0)).await.expect("a new lane");
        assert!(
            outbox.lane(&tenant(), &webhook("a"), at(0)).await.is_err(),
            "where it is may not be forgotten"
        );
        assert_eq!(outbox.erase(&others, &settled(5).0.session).await.expect("it is erased"), 1);
        let erased = outbox.erase(&tenant(), &settled(5).0.session).await;
        assert!(matches!(erased, Err(DeliveryStoreError::Damaged("lanes"))), "{erased:?}");
    });
}

#[test]
fn damage_after_the_end_of_another_log_is_removed_with_its_rows() {
    in_real_time(async {
        let given = GivenOutbox::new();
        given.outbox.adopt(Epoch(1), at(50)).await.expect("a log");
        let lane = given.lane().await;
        let entries = vec![settled(30), settled(45), settled(46)];
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), entries)
            .await
            .expect("it is recorded");
        given.conn().execute("UPDATE deliveries SET tries = 9 WHERE position = 45", []).expect("damage");
        let outbox = given.killed();
        outbox.adopt(Epoch(2), at(40)).await.expect("another log");
        assert_eq!(outbox.deliveries(lane, ALL).await.expect("a page").len(), 1);
        let counts = DeliveryTotals { delivered: 1, ..DeliveryTotals::default() };
        assert_eq!(outbox.counts(lane).await.expect("counts"), counts);
    });
}

#[test]
fn a_lane_that_lost_its_name_is_detected_for_its_endpoint_only() {
    in_real_time(async {
        for damage in ["tenant = 'acmf'", "webhook = 'b'"] {
            let given = GivenOutbox::new();
            given.lane().await;
            given.conn().execute(&format!("UPDATE lanes SET {damage}"), []).expect("it is damaged");
            let outbox = given.killed();
            let lost = outbox.lane(&tenant(), &webhook("a"), at(9)).await;
            assert!(matches!(lost, Err(DeliveryStoreError::Damaged("lanes"))), "{damage}: {lost:?}");
            outbox.lane(&tenant(), &webhook("c"), at(9)).await.expect("a new lane");
        }
    });
}

#[test]
fn a_damaged_delivery_does_not_prevent_the_erasure_of_others() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        let (other, _) = given.outbox.lane(&tenant(), &webhook("b"), at(0)).await.expect("a lane");
        for lane in [lane, other] {
            let entries = (1..=10).map(settled).collect();
            given
                .outbox
                .record(&free_lease(), lane, LaneProgress::default(), entries)
                .await
                .expect("it is recorded");
        }
        let damage = "UPDATE deliveries SET tries = tries + 1 WHERE position = 2 AND lane = (SELECT min(id) FROM lanes)";
        given.conn().execute(damage, []).expect("it is damaged");
        let erased = given.outbox.erase(&tenant(), &settled(5).0.session).await;
        assert!(matches!(erased, Err(DeliveryStoreError::Damaged("deliveries"))), "it is said: {erased:?}");
        assert_eq!(given.rows("deliveries"), 16);
    });
}

#[test]
fn a_missing_row_is_detected() {
    in_real_time(async {
        for (table, said) in [("meta", "meta"), ("attempts", "attempts"), ("deliveries", "deliveries")] {
            let given = GivenOutbox::new();
            let lane = given.lane().await;
            let pending = delivery(4, DeliveryStatus::Pending);
            let entries = vec![(pending, Some(attempt("no")))];
            given
                .outbox
                .record(&free_lease(), lane, LaneProgress::default(), entries)
                .await
                .expect("it is recorded");
            given.conn().execute(&format!("DELETE FROM {table}"), []).expect("it is damaged");
            let read = read_all(&given.outbox, lane).await;
            assert!(
                matches!(read, Err(DeliveryStoreError::Damaged(table)) if table == said),
                "{table}: {read:?}"
            );
        }
    });
}

#[test]
fn a_flipped_bit_in_any_row_of_the_file_is_detected() {
    for (table, mark) in [("lanes", "acme"), ("deliveries", "session-3"), ("attempts", "so it failed")] {
        let (bytes, lane) = file_with_rows();
        let mut damaged = bytes.clone();
        let places: Vec<_> =
            (0..bytes.len()).filter(|&at| bytes[at..].starts_with(mark.as_bytes())).collect();
        assert!(!places.is_empty(), "{mark} is not in the file");
        places.iter().for_each(|&place| damaged[place + 1] ^= 1);
        in_real_time(async {
            let files = tempfile::tempdir().expect("a directory");
            let path = files.path().join("outbox.db");
            fs::write(&path, damaged).expect("a file");
            let outbox = DeliveryStore::open(&path).expect("the file itself is whole");
            let read = read_all(&outbox, lane).await;
            assert!(
                matches!(read, Err(DeliveryStoreError::Damaged(said)) if said == table),
                "{table}: {read:?}"
            );
            let again = outbox.lane(&tenant(), &webhook("a"), at(9)).await;
            assert_eq!(again.is_err(), table == "lanes", "where it is may not be forgotten: {again:?}");
        });
    }
}

#[test]
fn a_damaged_file_is_kept_and_the_error_says_what_to_do() {
    let (whole, _) = file_with_rows();
    let bad_page = |mut bytes: Vec<u8>| {
        bytes[4_096..8_192].fill(0x5a);
        bytes
    };
    let garbage = |bytes: Vec<u8>| vec![0x5a; bytes.len()];
    for damage in [bad_page, garbage] {
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("outbox.db");
        let damaged = damage(whole.clone());
        fs::write(&path, &damaged).expect("a file");
        let refused = DeliveryStore::open(&path).err().expect("it is not opened").to_string();
        assert!(refused.contains("restore it from a backup, or delete outbox.db"), "{refused}");
        assert_eq!(fs::read(&path).expect("a file"), damaged, "nothing was thrown away");
        remove(&path);
        DeliveryStore::open(&path).expect("a new one takes its place");
    }
}

#[test]
fn a_file_of_another_release_is_refused() {
    let given = GivenOutbox::new();
    // As a later release would write it: only a number.
    let sum = crc32c::crc32c(&[[1, 3, 0, 0, 0, 0, 0, 0, 0], [0; 9]].concat());
    let update = "UPDATE meta SET schema = 3, checksum = ?1";
    given.conn().execute(update, [i64::from(sum)]).expect("a row");
    let refused = DeliveryStore::open(&given.path).err().expect("it is refused").to_string();
    assert_eq!(refused, "outbox.db has the schema 3, this release knows 2");
}

/// Reads everything in the file.
async fn read_all(outbox: &DeliveryStore, lane: LaneId) -> Result<(), DeliveryStoreError> {
    outbox.adopt(Epoch(1), at(50)).await?;
    for (_, owner) in outbox.lanes().await? {
        owner?;
    }
    outbox.deliveries(lane, ALL).await?;
    outbox.unsettled(lane).await.map(drop)
}

/// Another value of the same type.
fn altered(value: &Value) -> Value {
    match value {
        Value::Null => Value::Integer(1),
        Value::Integer(number) => Value::Integer(number + 1),
        Value::Real(number) => Value::Real(number + 1.0),
        Value::Text(text) => Value::Text(format!("{text}x")),
        Value::Blob(bytes) => Value::Blob(bytes.iter().map(|byte| byte ^ 1).collect()),
    }
}

/// The bytes of a file with a row in each table, and the number of its lane.
fn file_with_rows() -> (Vec<u8>, LaneId) {
    in_real_time(async {
        let given = GivenOutbox::new();
        given.outbox.adopt(Epoch(1), at(50)).await.expect("a log");
        let lane = given.lane().await;
        let entries = vec![(settled(3).0, Some(attempt("so it failed")))];
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), entries)
            .await
            .expect("it is recorded");
        given.conn().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("one file");
        (fs::read(&given.path).expect("a file"), lane)
    })
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{suffix}", path.display())));
    }
}
