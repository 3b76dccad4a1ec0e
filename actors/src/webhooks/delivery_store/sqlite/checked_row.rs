//! A row of any table: its columns, followed by the CRC-32C over all of them.

use amoiq_events::{
    Position,
    store::sqlite::row_checksum::{checksum, is_whole},
};
use rusqlite::{
    Params, Row, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use crate::webhooks::delivery_store::DeliveryStoreError;

/// The columns as the parameters of an insert or an update, followed by their checksum.
pub(super) fn sealed<'a>(columns: &'a [ValueRef<'a>]) -> impl Params + 'a {
    let sum = ValueRef::Integer(checksum(columns.iter().copied()));
    params_from_iter(columns.iter().copied().chain([sum]).map(ToSqlOutput::Borrowed))
}

/// A position as it is stored. One that SQLite cannot count comes after all others.
pub(super) fn placed(position: Position) -> ValueRef<'static> {
    ValueRef::Integer(i64::try_from(position.as_u64()).unwrap_or(i64::MAX))
}

/// A column that may be absent.
pub(super) fn optional(number: Option<i64>) -> ValueRef<'static> {
    number.map_or(ValueRef::Null, ValueRef::Integer)
}

/// Reads the columns of an undamaged row from the first on.
pub(super) struct ColumnReader<'a> {
    row: &'a Row<'a>,
    table: &'static str,
    next: usize,
}

impl<'a> ColumnReader<'a> {
    /// Checks a row whose last column is the checksum over the others.
    pub(super) fn checked(row: &'a Row<'a>, table: &'static str) -> Result<Self, DeliveryStoreError> {
        if !is_whole(row)? {
            return Err(DeliveryStoreError::Damaged(table));
        }
        Ok(Self { row, table, next: 0 })
    }

    pub(super) fn integer(&mut self) -> Result<i64, DeliveryStoreError> {
        match self.value()? {
            ValueRef::Integer(number) => Ok(number),
            _ => Err(self.damaged()),
        }
    }

    /// A number of any width that was stored from the same type.
    pub(super) fn number<N: TryFrom<i64>>(&mut self) -> Result<N, DeliveryStoreError> {
        let number = self.integer()?;
        N::try_from(number).map_err(|_out_of_range| self.damaged())
    }

    pub(super) fn optional(&mut self) -> Result<Option<i64>, DeliveryStoreError> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            _ => Err(self.damaged()),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DeliveryStoreError> {
        match self.value()? {
            ValueRef::Text(bytes) => str::from_utf8(bytes).map_err(|_not_utf8| self.damaged()),
            _ => Err(self.damaged()),
        }
    }

    pub(super) fn optional_text(&mut self) -> Result<Option<&'a str>, DeliveryStoreError> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => str::from_utf8(bytes).map(Some).map_err(|_not_utf8| self.damaged()),
            _ => Err(self.damaged()),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DeliveryStoreError> {
        match self.value()? {
            ValueRef::Blob(bytes) => Ok(bytes),
            _ => Err(self.damaged()),
        }
    }

    /// The error for a column with a value that nobody wrote.
    pub(super) fn damaged(&self) -> DeliveryStoreError {
        DeliveryStoreError::Damaged(self.table)
    }

    fn value(&mut self) -> Result<ValueRef<'a>, DeliveryStoreError> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        Ok(value)
    }
}
