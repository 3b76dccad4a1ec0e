//! The histories that the log had, and up to where each is the same as the one it has now.

use tokio_postgres::Row;

use crate::{
    Position,
    postgres::{CallFailure, DatabaseSession, SchemaName, timing},
    store::Epoch,
};

/// All epochs, the oldest first.
#[derive(Debug, Clone, Default)]
pub(in crate::store::postgres) struct EpochTable(Vec<EpochRow>);

#[derive(Debug, Clone, Copy)]
struct EpochRow {
    epoch: Epoch,
    /// The epochs that it replaced. The first replaced none.
    replaced: [Option<Epoch>; 2],
    common: Position,
}

impl EpochTable {
    pub(in crate::store::postgres) async fn load(
        session: &mut DatabaseSession,
        schema: &SchemaName,
    ) -> Result<Self, CallFailure> {
        let query = "SELECT epoch, replaced, known, common FROM {schema}.epochs ORDER BY number";
        let rows = session.query(&schema.statement(query), &[], timing::WRITE_CALL).await?;
        let rows: Result<Vec<_>, tokio_postgres::Error> = rows.iter().map(EpochRow::decode).collect();
        Ok(Self(rows?))
    }

    /// The first epoch, which names the log.
    pub(in crate::store::postgres) fn first(&self) -> Option<Epoch> {
        self.0.first().map(|row| row.epoch)
    }

    /// Up to where a history is certainly the same as the newest. Of one that the log never had, that is nowhere.
    pub(in crate::store::postgres) fn common_with(&self, epoch: Epoch) -> Position {
        if self.0.last().is_some_and(|newest| newest.epoch == epoch) {
            return Position::END;
        }
        let after = self.0.iter().skip_while(|row| !row.replaced.contains(&Some(epoch)));
        after.map(|row| row.common).min().unwrap_or(Position::START)
    }
}

impl EpochRow {
    fn decode(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let epoch = |number: i64| Epoch(number.cast_unsigned());
        let replaced: [Option<i64>; 2] = [row.try_get(1)?, row.try_get(2)?];
        let common: i64 = row.try_get(3)?;
        Ok(Self {
            epoch: epoch(row.try_get(0)?),
            replaced: replaced.map(|number| number.map(epoch)),
            common: Position::from_u64(common.cast_unsigned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_the_same_up_to_the_nearest_loss_since() {
        let row = |epoch, replaced, known, common| EpochRow {
            epoch: Epoch(epoch),
            replaced: [Some(Epoch(replaced)), Some(Epoch(known))],
            common: Position::from_u64(common),
        };
        let first = EpochRow { epoch: Epoch(1), replaced: [None; 2], common: Position::START };
        // A backup of the time of epoch 2 was restored, when nodes were in epoch 3.
        let table = EpochTable(vec![first, row(2, 1, 1, 100), row(4, 2, 3, 50), row(5, 4, 4, 80)]);
        let common = [1, 2, 3, 4, 6].map(|epoch| table.common_with(Epoch(epoch)).as_u64());
        assert_eq!(common, [50, 50, 50, 80, 0]);
        assert_eq!(table.common_with(Epoch(5)), Position::END);
        assert_eq!(table.first(), Some(Epoch(1)));
    }
}
