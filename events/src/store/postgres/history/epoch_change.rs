//! A log that lacks what this node knows goes on as another history, with a new epoch: one node begins it, and the others
//! find it. Whoever derived anything from the old one starts anew, and goes back to the last common position.

use std::sync::Arc;

use super::{end_file::KeptEnd, end_trail::EndTrail, epoch_table::EpochTable, known_end::EndValues};
use crate::{
    postgres::{CallFailure, DatabaseSession, Parameter, SchemaName, timing},
    store::Epoch,
};

/// The call that begins an epoch.
pub(in crate::store::postgres) struct EpochChange {
    begin: Arc<str>,
}

impl EpochChange {
    pub(in crate::store::postgres) fn new(schema: &SchemaName) -> Self {
        Self { begin: schema.statement("CALL {schema}.begin_epoch($1, $2, $3, $4, $5, $6, NULL)") }
    }

    /// Begins an epoch if the log lacks the newest of what is known. Returns the epoch that the log has then.
    pub(in crate::store::postgres) async fn settle(
        &self,
        session: &mut DatabaseSession,
        (known, position, id): EndValues,
        trail: &EndTrail,
        new: Epoch,
    ) -> Result<Epoch, CallFailure> {
        let (positions, ids) = trail.values();
        let new = new.0.cast_signed();
        let values: [Parameter<'_>; 6] = [&known, &position, &id, &positions, &ids, &new];
        let rows = session.query(&self.begin, &values, timing::WRITE_CALL).await?;
        if session.was_unreplicated() {
            return Err(CallFailure::Broken("the wait for the standby was ended".to_owned()));
        }
        let row = rows.first().ok_or_else(|| CallFailure::Refused("a query gave no row".to_owned()))?;
        let epoch = Epoch(row.try_get::<_, i64>(0)?.cast_unsigned());
        if epoch.0.cast_signed() != known {
            tracing::error!(
                from = %Epoch(known.cast_unsigned()), to = %epoch,
                "the log lost acknowledged events or was restored: it goes on in another epoch"
            );
        }
        Ok(epoch)
    }

    /// The same for what an earlier run of this node knew.
    pub(in crate::store::postgres) async fn settle_kept(
        &self,
        session: &mut DatabaseSession,
        epochs: &EpochTable,
        kept: &KeptEnd,
        new: Epoch,
    ) -> Result<(), CallFailure> {
        if epochs.first() != Some(Epoch(kept.log)) {
            tracing::warn!("this node followed another log before");
            return Ok(());
        }
        let Some((position, id)) = kept.events.newest() else { return Ok(()) };
        let known = (kept.epoch.cast_signed(), position.as_u64().cast_signed(), Some(id.as_uuid()));
        self.settle(session, known, &kept.events, new).await.map(drop)
    }
}
