//! The rows of an `outbox.db` that no service has open.

use std::path::Path;

use amoiq_events::store::{
    Epoch,
    sqlite::row_checksum::{checksum, is_whole},
};
use rusqlite::{
    Connection, OpenFlags, params_from_iter,
    types::{Value, ValueRef},
};

use super::{migration, schema};
use crate::webhooks::delivery_store::{
    DeliveryStoreError,
    relocated_rows::{PAGE_ROWS, RelocatedTable, StoredRow},
};

/// Opens a file that is there.
pub(in crate::webhooks::delivery_store) fn open(path: &Path) -> Result<Connection, DeliveryStoreError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    match schema::meta(&conn)? {
        (schema::SCHEMA_VERSION, _) => Ok(conn),
        (found, _) => Err(DeliveryStoreError::Schema { found, known: schema::SCHEMA_VERSION }),
    }
}

/// Makes the tables in an empty file.
pub(in crate::webhooks::delivery_store) fn make(path: &Path) -> Result<Connection, DeliveryStoreError> {
    let conn = Connection::open(path)?;
    migration::prepare(&conn)?;
    Ok(conn)
}

/// The rows after a key, in the order of keys.
pub(in crate::webhooks::delivery_store) fn page(
    conn: &Connection,
    table: &'static RelocatedTable,
    after: &[i64],
) -> Result<Vec<StoredRow>, DeliveryStoreError> {
    let RelocatedTable { name, key_columns: columns, key, .. } = table;
    let places = vec!["?"; *key].join(", ");
    let query =
        format!("SELECT * FROM {name} WHERE ({columns}) > ({places}) ORDER BY {columns} LIMIT {PAGE_ROWS}");
    let mut statement = conn.prepare_cached(&query)?;
    let before_checksum = statement.column_count().saturating_sub(1);
    let mut rows = statement.query(params_from_iter(after))?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        if !is_whole(row)? {
            return Err(DeliveryStoreError::Damaged(name));
        }
        page.push((0..before_checksum).map(|column| row.get(column)).collect::<Result<_, _>>()?);
    }
    Ok(page)
}

/// Adds rows.
pub(in crate::webhooks::delivery_store) fn insert(
    conn: &Connection,
    table: &'static RelocatedTable,
    rows: Vec<StoredRow>,
) -> Result<(), DeliveryStoreError> {
    for mut row in rows {
        let sum = checksum(row.iter().map(ValueRef::from));
        row.push(Value::Integer(sum));
        let places = vec!["?"; row.len()].join(", ");
        let insert = format!("INSERT INTO {} VALUES ({places})", table.name);
        conn.prepare_cached(&insert)?.execute(params_from_iter(row))?;
    }
    Ok(())
}

/// Says to which log the rows belong, and makes all of them durable.
pub(in crate::webhooks::delivery_store) fn complete(
    conn: &Connection,
    epoch: Epoch,
) -> Result<(), DeliveryStoreError> {
    schema::set_epoch(conn, Some(epoch))?;
    Ok(conn.execute_batch("COMMIT")?)
}
