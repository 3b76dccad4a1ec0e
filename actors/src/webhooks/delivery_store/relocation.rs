//! Moves deliveries beside a copy of their log: from a file into the tables of a database and back. The positions of lanes and
//! deliveries become those of the same events in the copy.
//!
//! Where the copy has other positions, a delivery whose event was removed from the log has none, and is left out: its text
//! is gone.

use std::{collections::HashMap, path::Path};

use amoiq_events::{
    Position,
    postgres::{PostgresDatabase, PostgresOpenError},
    store::{Epoch, transfer::position_map::PositionMap},
};
use rusqlite::{Connection, types::Value};

use super::{
    DeliveryStoreError,
    postgres::{PostgresDeliveries, relocated_tables},
    relocated_rows::{ATTEMPTS, DELIVERIES, LANES, RelocatedTable, StoredRow, integer},
    sqlite::relocated_file,
};

/// Where a lane's counts by status start.
const FIRST_COUNT: usize = 12;

/// The column of a delivery's status.
const STATUS: usize = 5;

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelocatedDeliveries {
    /// Endpoints with their cursors.
    pub lanes: u64,
    /// Deliveries that wait.
    pub pending: u64,
    /// All deliveries.
    pub deliveries: u64,
}

/// Deliveries that no service has open.
pub struct StoredDeliveries(StoredIn);

enum StoredIn {
    File(Connection),
    Database(PostgresDeliveries),
}

impl StoredDeliveries {
    /// Those in an `outbox.db`.
    ///
    /// # Errors
    /// When it is not there, is damaged, or was written by another release.
    pub fn in_file(path: &Path) -> Result<Self, DeliveryStoreError> {
        Ok(Self(StoredIn::File(relocated_file::open(path)?)))
    }

    /// None yet, in an empty file that is there.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn in_new_file(path: &Path) -> Result<Self, DeliveryStoreError> {
        Ok(Self(StoredIn::File(relocated_file::make(path)?)))
    }

    /// Those in a database, where there may be none yet.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn in_database(database: PostgresDatabase) -> Result<Self, PostgresOpenError> {
        Ok(Self(StoredIn::Database(PostgresDeliveries::open(database)?)))
    }

    /// All positions that are stored.
    ///
    /// # Errors
    /// When a row is damaged, or the backend refuses.
    pub async fn positions(&self) -> Result<Vec<Position>, DeliveryStoreError> {
        let mut positions = Vec::new();
        for table in [&LANES, &DELIVERIES] {
            let mut after = table.start();
            while let Some(rows) = self.page(table, &mut after).await? {
                let numbers =
                    rows.iter().flat_map(|row| table.positions.iter().filter_map(|at| row.get(*at)));
                positions.extend(numbers.filter_map(|number| match number {
                    Value::Integer(number) => Some(Position::from_u64(number.cast_unsigned())),
                    _ => None,
                }));
                positions.sort_unstable();
                positions.dedup();
            }
        }
        Ok(positions)
    }

    /// Replaces everything in `target` by what is here, for a log of this epoch.
    ///
    /// # Errors
    /// When a row is damaged, or a backend refuses.
    pub async fn relocate(
        &self,
        target: &Self,
        epoch: Epoch,
        map: &PositionMap,
    ) -> Result<RelocatedDeliveries, DeliveryStoreError> {
        let mut moved = RelocatedDeliveries::default();
        let mut gone = HashMap::new();
        target.clear().await?;
        for table in [&DELIVERIES, &ATTEMPTS, &LANES] {
            let mut after = table.start();
            while let Some(mut rows) = self.page(table, &mut after).await? {
                // A cursor may be where no event is.
                rows.retain_mut(|row| {
                    let is_event = table.place(row, map);
                    if table.name == DELIVERIES.name {
                        moved.count(row, is_event, &mut gone);
                    }
                    is_event || table.name == LANES.name
                });
                if table.name == LANES.name {
                    moved.lanes += rows.len() as u64;
                    rows.iter_mut().for_each(|row| subtract(row, &gone));
                }
                target.insert(table, rows).await?;
            }
        }
        target.complete(epoch).await?;
        Ok(moved)
    }

    /// The rows after a key, which becomes that of the last.
    async fn page(
        &self,
        table: &'static RelocatedTable,
        after: &mut Vec<i64>,
    ) -> Result<Option<Vec<StoredRow>>, DeliveryStoreError> {
        let rows = match &self.0 {
            StoredIn::File(conn) => relocated_file::page(conn, table, after)?,
            StoredIn::Database(deliveries) => relocated_tables::page(deliveries, table, after).await?,
        };
        let Some(last) = rows.last() else { return Ok(None) };
        *after = (0..table.key).map(|column| integer(last, column)).collect();
        Ok(Some(rows))
    }

    async fn clear(&self) -> Result<(), DeliveryStoreError> {
        match &self.0 {
            StoredIn::File(conn) => Ok(conn.execute_batch("BEGIN")?),
            StoredIn::Database(deliveries) => relocated_tables::clear(deliveries).await,
        }
    }

    async fn insert(
        &self,
        table: &'static RelocatedTable,
        rows: Vec<StoredRow>,
    ) -> Result<(), DeliveryStoreError> {
        match &self.0 {
            StoredIn::File(conn) => relocated_file::insert(conn, table, rows),
            StoredIn::Database(deliveries) => relocated_tables::insert(deliveries, table, rows).await,
        }
    }

    async fn complete(&self, epoch: Epoch) -> Result<(), DeliveryStoreError> {
        match &self.0 {
            StoredIn::File(conn) => relocated_file::complete(conn, epoch),
            StoredIn::Database(deliveries) => relocated_tables::complete(deliveries, epoch).await,
        }
    }
}

impl RelocatedDeliveries {
    /// Counts a delivery, or that it was left out.
    fn count(&mut self, row: &StoredRow, is_kept: bool, gone: &mut HashMap<(i64, i64), i64>) {
        let (lane, status) = (integer(row, 0), integer(row, STATUS));
        if is_kept {
            self.deliveries += 1;
            self.pending += u64::from(status == 0);
        } else {
            *gone.entry((lane, status)).or_default() += 1;
        }
    }
}

impl RelocatedTable {
    /// Before every key.
    fn start(&self) -> Vec<i64> {
        vec![i64::MIN; self.key]
    }

    /// Gives a row the positions of the same events, or of the newest before them. Tells whether all are those of the events.
    fn place(&self, row: &mut StoredRow, map: &PositionMap) -> bool {
        let mut are_events = true;
        for column in self.positions {
            if let Some(Value::Integer(number)) = row.get_mut(*column) {
                let found = map.find(Position::from_u64(number.cast_unsigned()));
                *number = found.position.as_u64().cast_signed();
                are_events &= found.is_event;
            }
        }
        are_events
    }
}

/// Takes deliveries that were left out from a lane's counts.
fn subtract(lane: &mut StoredRow, gone: &HashMap<(i64, i64), i64>) {
    let id = integer(lane, 0);
    for (status, count) in (0..).zip(lane.iter_mut().skip(FIRST_COUNT)) {
        if let (Value::Integer(count), Some(gone)) = (count, gone.get(&(id, status))) {
            *count -= gone;
        }
    }
}
