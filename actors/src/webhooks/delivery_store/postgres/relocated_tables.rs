//! The rows of the shared tables, while no service has them open. They have the columns that `outbox.db` has.

use amoiq_events::{postgres::CallValues, store::Epoch};
use rusqlite::types::Value;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::PostgresDeliveries;
use crate::webhooks::delivery_store::{
    DeliveryStoreError,
    relocated_rows::{DELIVERIES, LANES, PAGE_ROWS, RelocatedTable, StoredRow, integer},
};

const CLEAR: &str =
    "TRUNCATE {schema}.lanes, {schema}.deliveries, {schema}.attempts, {schema}.erased_sessions";

const COMPLETE: &str = "UPDATE {schema}.outbox SET epoch = $1, adopting = NULL";

const READ_LANES: &str = "SELECT id, tenant, webhook, progress, totals FROM {schema}.lanes
    WHERE id > $1 ORDER BY id LIMIT $2";

const READ_DELIVERIES: &str =
    "SELECT lane, position, event_id, message_id, session, status::bigint, tries, next_at,
        holds::integer::bigint, refused_at, changed_at, attempts
    FROM {schema}.deliveries WHERE (lane, position) > ($1, $2) ORDER BY lane, position LIMIT $3";

const READ_ATTEMPTS: &str = "SELECT lane, position, number, at, duration_ms, status::bigint, error, answer
    FROM {schema}.attempts WHERE (lane, position, number) > ($1, $2, $3) ORDER BY lane, position, number LIMIT $4";

const WRITE_LANE: &str = "INSERT INTO {schema}.lanes (id, tenant, webhook, progress, totals)
    OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5)";

/// The number of the next new lane is after all of them.
const COUNT_LANES: &str = "SELECT setval(pg_get_serial_sequence('{schema}.lanes', 'id'), $1)";

const WRITE_DELIVERIES: &str = "INSERT INTO {schema}.deliveries
    SELECT g.lane, g.position, g.event_id, g.message_id, g.session, g.status::integer, g.tries, g.next_at,
        g.holds <> 0, g.refused_at, g.changed_at, g.attempts
    FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
        AS g (lane, position, event_id, message_id, session, status, tries, next_at, holds, refused_at, changed_at,
            attempts)";

const WRITE_ATTEMPTS: &str = "INSERT INTO {schema}.attempts
    SELECT g.lane, g.position, g.number, g.at, g.duration_ms, g.status::integer, g.error, g.answer
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
        $8::bytea[]) AS g (lane, position, number, at, duration_ms, status, error, answer)";

/// How many numbers a lane's progress has; its counts follow.
const PROGRESS: usize = 9;

/// Reads a row of one of the tables.
type RowDecoder = fn(&Row) -> Result<StoredRow, tokio_postgres::Error>;

/// The rows after a key, in the order of keys.
pub(in crate::webhooks::delivery_store) async fn page(
    deliveries: &PostgresDeliveries,
    table: &'static RelocatedTable,
    after: &[i64],
) -> Result<Vec<StoredRow>, DeliveryStoreError> {
    let (query, decode): (_, RowDecoder) = match table.name {
        name if name == LANES.name => (READ_LANES, lane),
        name if name == DELIVERIES.name => (READ_DELIVERIES, delivery),
        _ => (READ_ATTEMPTS, attempt),
    };
    let mut values: CallValues = after.iter().map(|key| Box::new(*key) as _).collect();
    values.push(Box::new(i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX)));
    let rows = call(deliveries, query, values).await?;
    Ok(rows.iter().map(decode).collect::<Result<_, _>>()?)
}

/// Removes everything.
pub(in crate::webhooks::delivery_store) async fn clear(
    deliveries: &PostgresDeliveries,
) -> Result<(), DeliveryStoreError> {
    call(deliveries, CLEAR, Vec::new()).await.map(drop)
}

/// Adds rows.
pub(in crate::webhooks::delivery_store) async fn insert(
    deliveries: &PostgresDeliveries,
    table: &'static RelocatedTable,
    rows: Vec<StoredRow>,
) -> Result<(), DeliveryStoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    if table.name == LANES.name {
        let newest = rows.iter().map(|row| integer(row, 0)).max().unwrap_or(1);
        for row in rows {
            call(deliveries, WRITE_LANE, lane_values(&row)).await?;
        }
        return call(deliveries, COUNT_LANES, vec![Box::new(newest)]).await.map(drop);
    }
    let columns = RowColumns(rows);
    let (insert, values): (_, CallValues) = if table.name == DELIVERIES.name {
        (WRITE_DELIVERIES, columns.of_deliveries())
    } else {
        (WRITE_ATTEMPTS, columns.of_attempts())
    };
    call(deliveries, insert, values).await.map(drop)
}

/// Says to which log the rows belong.
pub(in crate::webhooks::delivery_store) async fn complete(
    deliveries: &PostgresDeliveries,
    epoch: Epoch,
) -> Result<(), DeliveryStoreError> {
    call(deliveries, COMPLETE, vec![Box::new(epoch.0.cast_signed())]).await.map(drop)
}

async fn call(
    deliveries: &PostgresDeliveries,
    text: &str,
    values: CallValues,
) -> Result<Vec<Row>, DeliveryStoreError> {
    let statement = deliveries.pool.database().schema().statement(text);
    deliveries.call(&statement, values).await
}

fn lane(row: &Row) -> Result<StoredRow, tokio_postgres::Error> {
    let (progress, totals): (Vec<Option<i64>>, Vec<i64>) = (row.try_get(3)?, row.try_get(4)?);
    let names = [row.try_get::<_, String>(1)?, row.try_get(2)?];
    let id = [Value::Integer(row.try_get(0)?)];
    let numbers = progress.into_iter().chain(totals.into_iter().map(Some)).map(optional);
    Ok(id.into_iter().chain(names.map(Value::Text)).chain(numbers).collect())
}

fn delivery(row: &Row) -> Result<StoredRow, tokio_postgres::Error> {
    let id = |column| row.try_get::<_, Uuid>(column).map(|id| Value::Blob(id.as_bytes().to_vec()));
    let mut values = vec![number(row, 0)?, number(row, 1)?, id(2)?, id(3)?, Value::Text(row.try_get(4)?)];
    for column in 5..12 {
        values.push(number(row, column)?);
    }
    Ok(values)
}

fn attempt(row: &Row) -> Result<StoredRow, tokio_postgres::Error> {
    let mut values = (0..6).map(|column| number(row, column)).collect::<Result<Vec<_>, _>>()?;
    values.push(row.try_get::<_, Option<String>>(6)?.map_or(Value::Null, Value::Text));
    values.push(Value::Blob(row.try_get(7)?));
    Ok(values)
}

fn number(row: &Row, column: usize) -> Result<Value, tokio_postgres::Error> {
    row.try_get(column).map(optional)
}

fn optional(number: Option<i64>) -> Value {
    number.map_or(Value::Null, Value::Integer)
}

fn lane_values(row: &StoredRow) -> CallValues {
    let progress: Vec<Option<i64>> = row.iter().skip(3).take(PROGRESS).map(maybe_integer).collect();
    let totals: Vec<i64> = row.iter().skip(3 + PROGRESS).filter_map(maybe_integer).collect();
    vec![
        Box::new(integer(row, 0)),
        Box::new(text(row.get(1)).unwrap_or_default()),
        Box::new(text(row.get(2)).unwrap_or_default()),
        Box::new(progress),
        Box::new(totals),
    ]
}

/// Rows, to be written column by column.
struct RowColumns(Vec<StoredRow>);

impl RowColumns {
    fn of_deliveries(&self) -> CallValues {
        let mut values: CallValues = vec![self.numbers(0), self.numbers(1), self.ids(2), self.ids(3)];
        values.push(Box::new(self.all(4, |value| text(value).unwrap_or_default())));
        values.extend((5..12).map(|column| self.numbers(column)));
        values
    }

    fn of_attempts(&self) -> CallValues {
        let mut values: CallValues = (0..6).map(|column| self.numbers(column)).collect();
        values.push(Box::new(self.all(6, text)));
        values.push(Box::new(self.all(7, bytes)));
        values
    }

    fn numbers(&self, column: usize) -> Box<dyn ToSql + Send + Sync> {
        Box::new(self.all(column, |value| value.and_then(maybe_integer)))
    }

    fn ids(&self, column: usize) -> Box<dyn ToSql + Send + Sync> {
        Box::new(self.all(column, |value| Uuid::from_slice(&bytes(value)).unwrap_or_default()))
    }

    fn all<T>(&self, column: usize, of: impl Fn(Option<&Value>) -> T) -> Vec<T> {
        self.0.iter().map(|row| of(row.get(column))).collect()
    }
}

fn maybe_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

/// A text. The database has none with a NUL.
fn text(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Text(text)) => Some(text.replace('\0', "\u{fffd}")),
        _ => None,
    }
}

fn bytes(value: Option<&Value>) -> Vec<u8> {
    match value {
        Some(Value::Blob(bytes)) => bytes.clone(),
        _ => Vec::new(),
    }
}
