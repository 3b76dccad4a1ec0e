//! `outbox.db`: deliveries of one node.
//!
//! Every row carries a CRC-32C over all its columns, which each read checks: damage is an error, never returned as data and
//! never repaired silently. The methods are those of [`DeliveryStore`](super::DeliveryStore).

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use amoiq_events::{
    MessageId, Position, SessionId, TenantId, Timestamp, WebhookId, cluster::HeldLease, store::Epoch,
};
use rusqlite::{Connection, Transaction};

use super::{DeliveriesQuery, DeliveryStoreError, DeliveryTotals, LaneId, LaneOwner, LeaseGuard, reaper};
use crate::{
    database::{DatabaseError, SqliteDatabase},
    webhooks::delivery::{Delivery, DeliveryAttempt, LaneProgress},
};

mod attempt_rows;
mod checked_row;
mod delivery_rows;
mod epoch_adoption;
mod lane_rows;
mod migration;
pub(super) mod relocated_file;
mod removal;
mod schema;
pub(super) mod verification;

#[cfg(test)]
mod tests;

/// A handle to `outbox.db`.
#[derive(Clone)]
pub(super) struct SqliteDeliveries {
    database: SqliteDatabase,
    /// The newest lane at the time when the file was opened. Only lanes up to this one can be hidden by damage.
    newest: LaneId,
    /// On a file one node has every lease.
    guard: LeaseGuard,
}

impl SqliteDeliveries {
    pub(super) fn open(path: &Path) -> Result<Self, DeliveryStoreError> {
        let mut newest = LaneId::default();
        let database = SqliteDatabase::open(path, "outbox", |conn| prepare(conn, &mut newest))?;
        Ok(Self { database, newest, guard: Arc::new(|_| true) })
    }

    pub(super) fn in_memory(guard: LeaseGuard) -> Result<Self, DeliveryStoreError> {
        let mut newest = LaneId::default();
        let database = SqliteDatabase::in_memory(|conn| prepare(conn, &mut newest))?;
        Ok(Self { database, newest, guard })
    }

    pub(super) async fn epoch(&self) -> Result<Option<Epoch>, DeliveryStoreError> {
        self.database.read(schema::epoch).await
    }

    pub(super) async fn adopt(&self, epoch: Epoch, head: Position) -> Result<(), DeliveryStoreError> {
        if !self.database.write(move |conn| epoch_adoption::adopt(conn, epoch, head)).await? {
            return Ok(());
        }
        // If a power failure undid this, it would be done again with a later head.
        match self.database.truncate_log().await {
            Err(error @ DatabaseError::Busy) => tracing::warn!(%error, "outbox.db is not synced yet"),
            cut => cut?,
        }
        Ok(())
    }

    pub(super) async fn lane(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        start: Position,
    ) -> Result<(LaneId, LaneProgress), DeliveryStoreError> {
        let (tenant, webhook, newest) = (tenant.clone(), webhook.clone(), self.newest);
        let make =
            move |conn: &Transaction<'_>| lane_rows::find_or_make(conn, &tenant, &webhook, start, newest);
        let lane = self.database.write(make).await?;
        Ok((lane.id, lane.progress))
    }

    pub(super) async fn lanes(&self) -> Result<Vec<(LaneId, LaneOwner)>, DeliveryStoreError> {
        let lanes = self.database.read(lane_rows::all).await?;
        let owner = |lane: lane_rows::LaneRow| (lane.tenant, lane.webhook);
        Ok(lanes.into_iter().map(|found| (found.id, found.row.map(owner))).collect())
    }

    pub(super) async fn remove(&self, lane: LaneId) -> Result<(), DeliveryStoreError> {
        while !self.database.write(move |conn| removal::remove_some(conn, lane)).await? {
            tokio::time::sleep(reaper::REST).await;
        }
        Ok(())
    }

    pub(super) async fn unsettled(&self, lane: LaneId) -> Result<Vec<Delivery>, DeliveryStoreError> {
        self.database.read(move |conn| delivery_rows::unsettled(conn, lane)).await
    }

    pub(super) async fn settled_after(
        &self,
        lane: LaneId,
        after: Position,
    ) -> Result<BTreeSet<Position>, DeliveryStoreError> {
        self.database.read(move |conn| delivery_rows::settled_after(conn, lane, after)).await
    }

    /// Refuses to write under a lease that was lost.
    fn check(&self, lease: &HeldLease) -> Result<(), DeliveryStoreError> {
        if (self.guard)(lease) { Ok(()) } else { Err(DeliveryStoreError::LeaseLost) }
    }

    pub(super) async fn record(
        &self,
        lease: &HeldLease,
        lane: LaneId,
        progress: LaneProgress,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
    ) -> Result<(), DeliveryStoreError> {
        self.check(lease)?;
        self.database.write(move |conn| delivery_rows::record(conn, lane, progress, entries)).await
    }

    pub(super) async fn record_soon(
        &self,
        lease: &HeldLease,
        lane: LaneId,
        progress: LaneProgress,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
    ) -> Result<(), DeliveryStoreError> {
        self.check(lease)?;
        self.database.write_soon(move |conn| delivery_rows::record(conn, lane, progress, entries)).await
    }

    pub(super) fn hurry(&self) {
        self.database.hurry();
    }

    pub(super) async fn deliveries(
        &self,
        lane: LaneId,
        query: DeliveriesQuery,
    ) -> Result<Vec<(Delivery, Vec<DeliveryAttempt>)>, DeliveryStoreError> {
        self.database.read(move |conn| delivery_rows::page(conn, lane, query)).await
    }

    pub(super) async fn find(
        &self,
        lane: LaneId,
        message: MessageId,
    ) -> Result<Option<Delivery>, DeliveryStoreError> {
        let of_message = move |conn: &_| {
            delivery_rows::select(conn, delivery_rows::OF_MESSAGE, (lane.0, message.as_bytes().as_slice()))
        };
        Ok(self.database.read(of_message).await?.pop().map(|kept| kept.delivery))
    }

    pub(super) async fn counts(&self, lane: LaneId) -> Result<DeliveryTotals, DeliveryStoreError> {
        self.database.read(move |conn| Ok(lane_rows::get(conn, lane)?.totals)).await
    }

    pub(super) async fn reap(
        &self,
        lane: LaneId,
        before: Timestamp,
        keep: u32,
        limit: u32,
    ) -> Result<usize, DeliveryStoreError> {
        self.database.write(move |conn| removal::reap(conn, lane, before, keep, limit)).await
    }

    pub(super) async fn scrub(&self) -> Result<(), DeliveryStoreError> {
        Ok(self.database.scrub().await?)
    }

    pub(super) async fn truncate_log(&self) -> Result<(), DeliveryStoreError> {
        Ok(self.database.truncate_log().await?)
    }

    pub(super) async fn erase_all(
        &self,
        tenant: &TenantId,
        sessions: &Arc<HashMap<SessionId, Position>>,
    ) -> Result<usize, DeliveryStoreError> {
        let (mut erased, mut first_error) = (0, None);
        for found in self.database.read(lane_rows::all).await? {
            // A damaged row may name the wrong tenant, but that is all there is to go by.
            if found.tenant != tenant.as_str() {
                continue;
            }
            let gone = self.erase_from(found.id, sessions, &mut erased).await;
            if let Err(error) = found.row.and(gone) {
                tracing::error!(%error, tenant.id = %tenant, lane = found.id.0, "deliveries were not erased");
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(erased), Err)
    }

    async fn erase_from(
        &self,
        lane: LaneId,
        sessions: &Arc<HashMap<SessionId, Position>>,
        erased: &mut usize,
    ) -> Result<(), DeliveryStoreError> {
        let (mut next, mut damage) = (Some(Position::START), None);
        while let Some(after) = next {
            let sessions = Arc::clone(sessions);
            let look = move |conn: &_| removal::of_sessions(conn, lane, &sessions, after);
            let removal::SessionScan { found, last, error } = self.database.read(look).await?;
            (next, damage) = (last, damage.or(error));
            if !found.is_empty() {
                match self.database.write(move |conn| removal::remove_at(conn, lane, &found)).await {
                    Ok(count) => *erased += count,
                    // The lane was removed meanwhile, with all its deliveries.
                    Err(DeliveryStoreError::NoLane) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        damage.map_or(Ok(()), Err)
    }
}

/// Creates the tables, and finds the newest lane.
fn prepare(conn: &Connection, newest: &mut LaneId) -> Result<(), DeliveryStoreError> {
    migration::prepare(conn)?;
    *newest = lane_rows::newest(conn)?;
    Ok(())
}
