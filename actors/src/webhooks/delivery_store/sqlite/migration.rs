//! Creates the tables, and migrates an `outbox.db` of the first release: lanes now count refused and skipped
//! deliveries and store how long they leave their endpoint alone; deliveries store since when they are refused.
//!
//! The transaction of opening includes the migration, so a crash leaves the file as it was. A damaged row stays
//! damaged.

use amoiq_events::store::{
    Epoch,
    sqlite::row_checksum::{checksum, is_whole},
};
use rusqlite::{
    Connection, Row, params_from_iter,
    types::{Value, ValueRef},
};

use super::schema;
use crate::webhooks::delivery_store::DeliveryStoreError;

/// The schema of the first release.
const FIRST_SCHEMA: i64 = 1;

/// The longest time for which a lane of the first release left its endpoint alone. That release did not store the
/// time.
const LONGEST_HOLD_OFF_MS: i64 = 24 * 3_600 * 1_000;

/// The number of columns in the first release, without the checksum.
const LANES: usize = 14;
const DELIVERIES: usize = 11;

/// Creates the tables in a new database, migrates those of an earlier release, and refuses others.
pub(super) fn prepare(conn: &Connection) -> Result<(), DeliveryStoreError> {
    let transaction = conn.unchecked_transaction()?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'";
    if conn.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0 {
        let tables = [schema::META, schema::LANES_AND_DELIVERIES, schema::ATTEMPTS];
        tables.into_iter().try_for_each(|sql| conn.execute_batch(sql))?;
        schema::set_epoch(conn, None)?;
    }
    match schema::meta(conn)? {
        (schema::SCHEMA_VERSION, _) => {}
        (FIRST_SCHEMA, epoch) => {
            from_first(conn)?;
            conn.execute("DELETE FROM meta", [])?;
            schema::set_epoch(conn, epoch.map(|epoch| Epoch(epoch.cast_unsigned())))?;
        }
        (found, _) => {
            return Err(DeliveryStoreError::Schema { found, known: schema::SCHEMA_VERSION });
        }
    }
    Ok(transaction.commit()?)
}

/// Migrates the tables of the first release.
fn from_first(conn: &Connection) -> Result<(), DeliveryStoreError> {
    let last_lane = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'lanes'";
    let last_lane: i64 = conn.query_row(last_lane, [], |row| row.get(0))?;
    conn.execute_batch(
        "ALTER TABLE lanes RENAME TO first_lanes;
         ALTER TABLE deliveries RENAME TO first_deliveries;
         DROP INDEX deliveries_by_status;
         DROP INDEX deliveries_by_time;
         DROP INDEX deliveries_by_message;",
    )?;
    conn.execute_batch(schema::LANES_AND_DELIVERIES)?;
    copy::<LANES>(conn, "lanes", |mut columns| {
        let hold_off = match columns.get(5) {
            Some(Value::Integer(_)) => Value::Integer(LONGEST_HOLD_OFF_MS),
            _ => Value::Null,
        };
        columns.insert(6, hold_off);
        columns.extend([Value::Integer(0), Value::Integer(0)]);
        columns
    })?;
    copy::<DELIVERIES>(conn, "deliveries", |mut columns| {
        columns.insert(9, Value::Null);
        columns
    })?;
    conn.execute_batch("DROP TABLE first_lanes; DROP TABLE first_deliveries;")?;
    // The number of a removed lane is never used again, either.
    conn.execute("DELETE FROM sqlite_sequence WHERE name = 'lanes'", [])?;
    conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('lanes', ?1)", [last_lane])?;
    Ok(())
}

/// Copies a table that had this many columns before the checksum.
fn copy<const COLUMNS: usize>(
    conn: &Connection,
    table: &str,
    lift: impl Fn(Vec<Value>) -> Vec<Value>,
) -> Result<(), DeliveryStoreError> {
    let mut old = conn.prepare(&format!("SELECT * FROM first_{table}"))?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let mut lifted = lift(values::<COLUMNS>(row)?);
        let sum = checksum(lifted.iter().map(ValueRef::from));
        // A checksum is never negative, so this one matches no row.
        lifted.push(Value::Integer(if is_whole(row)? { sum } else { -1 }));
        let places = vec!["?"; lifted.len()].join(", ");
        let insert = format!("INSERT INTO {table} VALUES ({places})");
        conn.prepare_cached(&insert)?.execute(params_from_iter(lifted))?;
    }
    Ok(())
}

fn values<const COLUMNS: usize>(row: &Row<'_>) -> Result<Vec<Value>, DeliveryStoreError> {
    Ok((0..COLUMNS).map(|column| row.get(column)).collect::<Result<_, _>>()?)
}
