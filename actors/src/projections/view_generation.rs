//! The generations of a projection's tables: one serves, another may be filled beside it and then replace it.
//!
//! A generation's number is part of its tables' names (`inbox_7`), so a reader or a fold first asks, in the same
//! transaction, which generation serves. The row that says so also contains the generation's position: the projection's
//! checkpoint. The row has a CRC-32C, because a damaged position would leave events out.

use amoiq_events::{
    Position,
    store::{Epoch, sqlite::row_checksum},
};
use rusqlite::{Connection, OptionalExtension, types::ValueRef};

use crate::projections::{
    projection::{Projection, ViewTables},
    view_error::ViewError,
};

/// The table of all generations.
pub(crate) const CREATE: &str = "CREATE TABLE generations (
    projection TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    state      INTEGER NOT NULL, -- 0: being filled, 1: serves, 2: to be dropped
    version    INTEGER NOT NULL, -- of the tables
    epoch      INTEGER NOT NULL, -- of the log that they were made from
    position   INTEGER NOT NULL, -- everything up to here is folded in
    checksum   INTEGER NOT NULL, -- CRC-32C over all of the above
    PRIMARY KEY (projection, number)
) WITHOUT ROWID;";

/// How many rows of a retired table are removed in one transaction, which takes some ten milliseconds.
const SWEEP_ROWS: usize = 2_048;

/// The state of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenerationState {
    Filling = 0,
    Serving = 1,
    Retired = 2,
}

/// One generation of a projection's tables, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewGeneration {
    /// Its tables.
    pub tables: ViewTables,
    /// The epoch of the log that it was built from.
    pub epoch: Epoch,
    /// Everything up to here is folded.
    pub position: Position,
}

impl ViewGeneration {
    /// Creates the tables of a new generation, empty, to be filled from the start of the log.
    pub(crate) fn create<P: Projection>(conn: &Connection, epoch: Epoch) -> Result<Self, ViewError> {
        let sql = "SELECT coalesce(max(number), 0) + 1 FROM generations WHERE projection = ?1";
        let number = conn.query_row(sql, [P::NAME], |row| row.get(0))?;
        let tables = ViewTables::new(number, P::VERSION);
        drop_tables::<P>(conn, number)?;
        P::create(conn, tables)?;
        let generation = Self { tables, epoch, position: Position::START };
        generation.store(conn, P::NAME, GenerationState::Filling)?;
        Ok(generation)
    }

    /// The generation that serves; `None` when none does.
    ///
    /// # Errors
    /// When the database refuses, or the row is damaged.
    pub fn serving(conn: &Connection, projection: &'static str) -> Result<Option<Self>, ViewError> {
        let sql = "SELECT number, version, epoch, position, checksum FROM generations
            WHERE projection = ?1 AND state = 1";
        let found = conn.prepare_cached(sql)?.query_row([projection], |row| {
            let generation = Self {
                tables: ViewTables::new(row.get(0)?, row.get(1)?),
                epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()),
                position: row.get(3)?,
            };
            Ok((generation, row.get::<_, i64>(4)?))
        });
        match found.optional()? {
            Some((generation, sum)) if generation.checksum(projection, GenerationState::Serving) != sum => {
                Err(ViewError::Catalogue)
            }
            found => Ok(found.map(|(generation, _)| generation)),
        }
    }

    /// Lets this generation serve, in place of the one that does.
    pub(crate) fn serve<P: Projection>(&self, conn: &Connection) -> Result<(), ViewError> {
        Self::retire::<P>(conn)?;
        self.store(conn, P::NAME, GenerationState::Serving)
    }

    /// Retires the generation that serves. Only the number of a retired one is ever read.
    pub(crate) fn retire<P: Projection>(conn: &Connection) -> Result<(), ViewError> {
        let mut statement =
            conn.prepare_cached("SELECT number FROM generations WHERE projection = ?1 AND state = 1")?;
        let numbers = statement.query_map([P::NAME], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        numbers.into_iter().try_for_each(|number| {
            let tables = ViewTables::new(number, 0);
            let retired = Self { tables, epoch: Epoch(0), position: Position::START };
            retired.store(conn, P::NAME, GenerationState::Retired)
        })
    }

    /// Stores that the serving generation has folded everything up to `position`.
    pub(crate) fn advance(
        self,
        conn: &Connection,
        projection: &str,
        position: Position,
    ) -> Result<Self, ViewError> {
        let next = Self { position, ..self };
        next.store(conn, projection, GenerationState::Serving)?;
        Ok(next)
    }

    fn store(&self, conn: &Connection, projection: &str, state: GenerationState) -> Result<(), ViewError> {
        let sql = "INSERT OR REPLACE INTO generations (projection, number, state, version, epoch, position, \
                   checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        conn.prepare_cached(sql)?.execute((
            projection,
            self.tables.number(),
            state as i64,
            self.tables.version(),
            self.epoch.0.cast_signed(),
            self.position,
            self.checksum(projection, state),
        ))?;
        Ok(())
    }

    /// Over the columns in the table's order.
    fn checksum(&self, projection: &str, state: GenerationState) -> i64 {
        row_checksum::checksum([
            projection.into(),
            ValueRef::Integer(self.tables.number()),
            ValueRef::Integer(state as i64),
            ValueRef::Integer(self.tables.version().into()),
            ValueRef::Integer(self.epoch.0.cast_signed()),
            ValueRef::Integer(self.position.as_u64().cast_signed()),
        ])
    }
}

/// Removes a portion of the generations that do not serve: retired ones, and those that were not filled completely.
/// Removed rows are overwritten with zeros, which takes time, so tables are emptied in portions before they are dropped.
/// Returns whether something may be left.
pub(crate) fn sweep<P: Projection>(conn: &Connection) -> Result<bool, ViewError> {
    let sql = "SELECT number FROM generations WHERE projection = ?1 AND state <> 1 LIMIT 1";
    let doomed = conn.prepare_cached(sql)?.query_row([P::NAME], |row| row.get(0)).optional()?;
    let Some(number) = doomed else { return Ok(false) };
    for table in P::TABLES {
        if remove_rows(conn, &format!("{table}_{number}"))? == SWEEP_ROWS {
            return Ok(true);
        }
    }
    drop_tables::<P>(conn, number)?;
    conn.prepare_cached("DELETE FROM generations WHERE projection = ?1 AND number = ?2")?
        .execute((P::NAME, number))?;
    Ok(true)
}

/// Whether there are only tables that serve.
pub(crate) fn is_swept(conn: &Connection) -> Result<bool, ViewError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM generations WHERE state <> 1)";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Removes some rows of a table, by its primary key. Returns how many.
fn remove_rows(conn: &Connection, table: &str) -> Result<usize, ViewError> {
    let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk";
    let mut statement = conn.prepare_cached(sql)?;
    let key = statement.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    // Without a key there is no such table.
    if key.is_empty() {
        return Ok(0);
    }
    let key = key.join(", ");
    let sql = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} LIMIT {SWEEP_ROWS})");
    Ok(conn.execute(&sql, [])?)
}

fn drop_tables<P: Projection>(conn: &Connection, number: i64) -> Result<(), ViewError> {
    for table in P::TABLES {
        conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}_{number}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
