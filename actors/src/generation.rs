//! The generations of a projection's tables: one serves, another may be filled beside it, and a swap
//! makes the one the other.
//!
//! A generation's number is part of its tables' names (`inbox_7`), so whoever reads or folds asks first,
//! in the same transaction, which one serves. The row that says so also says how far the generation has
//! come: it is the projection's checkpoint. Rows carry a CRC-32C, because a damaged position would leave
//! events out.

use amoiq_events::{
    Position,
    store::{Epoch, sqlite::columns},
};
use rusqlite::{Connection, OptionalExtension, types::ValueRef};

use crate::{projector::Projection, views::ViewError};

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

/// How many rows of a table that does not serve are removed in one transaction: some ten milliseconds.
const SWEPT_ROWS: usize = 2_048;

/// One generation of a projection's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    number: i64,
    version: u32,
}

/// What becomes of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Filling = 0,
    Serving = 1,
    Retired = 2,
}

/// A generation, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Its tables.
    pub tables: Tables,
    /// Of the log that it was made from.
    pub epoch: Epoch,
    /// Everything up to here is folded in.
    pub position: Position,
}

impl Tables {
    /// Those with a number, of a version: for tests that fold by themselves.
    #[must_use]
    pub const fn new(number: i64, version: u32) -> Self {
        Self { number, version }
    }

    /// The name of a table in this generation.
    #[must_use]
    pub fn name(self, table: &str) -> String {
        format!("{table}_{}", self.number)
    }

    /// The version that they were made in.
    #[must_use]
    pub fn version(self) -> u32 {
        self.version
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.number
    }
}

/// The generation that serves; nothing when none does.
///
/// # Errors
/// When the database refuses, or the row is damaged.
pub fn serving(conn: &Connection, projection: &'static str) -> Result<Option<Generation>, ViewError> {
    let sql = "SELECT number, version, epoch, position, checksum FROM generations
        WHERE projection = ?1 AND state = 1";
    let found = conn.prepare_cached(sql)?.query_row([projection], |row| {
        let generation = Generation {
            tables: Tables { number: row.get(0)?, version: row.get(1)? },
            epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()),
            position: Position::from_u64(row.get::<_, i64>(3)?.cast_unsigned()),
        };
        Ok((generation, row.get::<_, i64>(4)?))
    });
    match found.optional()? {
        Some((generation, sum)) if checksum(projection, State::Serving, &generation) != sum => {
            Err(ViewError::Catalogue)
        }
        found => Ok(found.map(|(generation, _)| generation)),
    }
}

/// Writes down what a generation is and how far it has come.
pub(crate) fn put(
    conn: &Connection,
    projection: &str,
    state: State,
    generation: &Generation,
) -> Result<(), ViewError> {
    let sql = "INSERT OR REPLACE INTO generations (projection, number, state, version, epoch, position, \
               checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    conn.prepare_cached(sql)?.execute((
        projection,
        generation.tables.number,
        state as i64,
        generation.tables.version,
        generation.epoch.0.cast_signed(),
        generation.position.as_u64().cast_signed(),
        checksum(projection, state, generation),
    ))?;
    Ok(())
}

/// Makes the tables of a new generation, empty, to be filled from the begin of the log.
pub(crate) fn begin<P: Projection>(conn: &Connection, epoch: Epoch) -> Result<Generation, ViewError> {
    let sql = "SELECT coalesce(max(number), 0) + 1 FROM generations WHERE projection = ?1";
    let number = conn.query_row(sql, [P::NAME], |row| row.get(0))?;
    let tables = Tables { number, version: P::VERSION };
    drop_tables::<P>(conn, number)?;
    P::create(conn, tables)?;
    let generation = Generation { tables, epoch, position: Position::START };
    put(conn, P::NAME, State::Filling, &generation)?;
    Ok(generation)
}

/// Lets a generation that was filled serve, in the place of the one that does.
pub(crate) fn swap<P: Projection>(conn: &Connection, filled: &Generation) -> Result<(), ViewError> {
    retire::<P>(conn)?;
    put(conn, P::NAME, State::Serving, filled)
}

/// Lets the generation that serves serve no more. Of what is to be dropped only the number matters.
pub(crate) fn retire<P: Projection>(conn: &Connection) -> Result<(), ViewError> {
    let mut statement =
        conn.prepare_cached("SELECT number FROM generations WHERE projection = ?1 AND state = 1")?;
    let numbers = statement.query_map([P::NAME], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    numbers.into_iter().try_for_each(|number| {
        let tables = Tables { number, version: 0 };
        let retired = Generation { tables, epoch: Epoch(0), position: Position::START };
        put(conn, P::NAME, State::Retired, &retired)
    })
}

/// Takes a portion of what does not serve: of what was retired, and of what was not filled to the end. Tables are
/// dropped when they are empty: zeros go over everything that is removed, and nobody is to wait for all of them.
/// Says whether something may be left.
pub(crate) fn sweep<P: Projection>(conn: &Connection) -> Result<bool, ViewError> {
    let sql = "SELECT number FROM generations WHERE projection = ?1 AND state <> 1 LIMIT 1";
    let doomed = conn.prepare_cached(sql)?.query_row([P::NAME], |row| row.get(0)).optional()?;
    let Some(number) = doomed else { return Ok(false) };
    for table in P::TABLES {
        if remove_rows(conn, &format!("{table}_{number}"))? == SWEPT_ROWS {
            return Ok(true);
        }
    }
    drop_tables::<P>(conn, number)?;
    conn.prepare_cached("DELETE FROM generations WHERE projection = ?1 AND number = ?2")?
        .execute((P::NAME, number))?;
    Ok(true)
}

/// Whether nothing is there but what serves: no table holds what the ones that serve do not.
pub(crate) fn is_swept(conn: &Connection) -> Result<bool, ViewError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM generations WHERE state <> 1)";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Removes some rows of a table, by whatever key it has; tells how many.
fn remove_rows(conn: &Connection, table: &str) -> Result<usize, ViewError> {
    let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk";
    let mut statement = conn.prepare_cached(sql)?;
    let key = statement.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    // Without one it is not there.
    if key.is_empty() {
        return Ok(0);
    }
    let key = key.join(", ");
    let sql = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} LIMIT {SWEPT_ROWS})");
    Ok(conn.execute(&sql, [])?)
}

fn drop_tables<P: Projection>(conn: &Connection, number: i64) -> Result<(), ViewError> {
    for table in P::TABLES {
        conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}_{number}"))?;
    }
    Ok(())
}

/// Over the columns in the table's order.
fn checksum(projection: &str, state: State, generation: &Generation) -> i64 {
    let Generation { tables, epoch, position } = generation;
    columns::checksum([
        projection.into(),
        ValueRef::Integer(tables.number),
        ValueRef::Integer(state as i64),
        ValueRef::Integer(tables.version.into()),
        ValueRef::Integer(epoch.0.cast_signed()),
        ValueRef::Integer(position.as_u64().cast_signed()),
    ])
}

#[cfg(test)]
mod tests;
