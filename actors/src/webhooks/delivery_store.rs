//! `outbox.db`: how far each endpoint is, its deliveries and their attempts.
//!
//! No rebuild creates or changes it. Every row carries a CRC-32C over all its columns, which each read checks: damage
//! is an error, never returned as data and never repaired silently. What was recorded survives the end of the
//! process. A power failure may lose the last moments; what was delivered in them is delivered again, under the same
//! ids.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use amoiq_events::{MessageId, Position, SessionId, TenantId, Timestamp, WebhookId, store::Epoch};
use rusqlite::{Connection, Transaction};

use crate::{
    database::{DatabaseError, SqliteDatabase},
    webhooks::delivery::{Delivery, DeliveryAttempt, DeliveryStatus, LaneProgress},
};

mod attempt_rows;
mod checked_row;
mod delivery_rows;
mod epoch_adoption;
mod error;
mod lane_rows;
mod migration;
pub mod reaper;
mod removal;
mod schema;
mod verification;

#[cfg(test)]
mod tests;

pub use error::DeliveryStoreError;
pub use verification::DELIVERY_DATABASE;

/// The most deliveries on one page.
pub const MAX_PAGE: u32 = 200;

/// The number of an endpoint's lane. It is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LaneId(i64);

/// The tenant and the endpoint of a lane; an error if the row is damaged.
pub type LaneOwner = Result<(TenantId, WebhookId), DeliveryStoreError>;

/// How many deliveries a lane has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveryTotals {
    /// Waiting in order.
    pub pending: u64,
    /// Taken by the endpoint, and still listed.
    pub delivered: u64,
    /// Given up, and still listed.
    pub failed: u64,
    /// Set aside after a refusal, and still attempted.
    pub refused: u64,
    /// Skipped, and still listed.
    pub skipped: u64,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveriesQuery {
    /// Only deliveries with this status; all if absent.
    pub status: Option<DeliveryStatus>,
    /// Only deliveries before this position: the last of the previous page.
    pub before: Option<Position>,
    /// At most this many, and at most [`MAX_PAGE`].
    pub limit: u32,
}

/// A handle to the database.
#[derive(Clone)]
pub struct DeliveryStore {
    database: SqliteDatabase,
    /// The newest lane at the time when the file was opened. Only lanes up to this one can be hidden by damage.
    newest: LaneId,
}

impl DeliveryStore {
    /// Opens the database, or creates it. A damaged one is never deleted.
    ///
    /// # Errors
    /// When it is damaged or was written by another release. The text says what to do.
    pub fn open(path: &Path) -> Result<Self, DeliveryStoreError> {
        let mut newest = LaneId::default();
        let database = SqliteDatabase::open(path, "outbox", |conn| prepare(conn, &mut newest))?;
        Ok(Self { database, newest })
    }

    /// A database in memory, which its clones share: for simulations.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn in_memory() -> Result<Self, DeliveryStoreError> {
        let mut newest = LaneId::default();
        let database = SqliteDatabase::in_memory(|conn| prepare(conn, &mut newest))?;
        Ok(Self { database, newest })
    }

    /// Takes over the log's epoch. If it is another than the stored one, cursors and replays are set back to `head`,
    /// and deliveries after it are removed, because the log has lost their events. The caller passes the head of the
    /// log when it was opened, before anything is appended: later events are for every endpoint.
    ///
    /// # Errors
    /// When the database refuses or is damaged; then nothing has changed.
    pub async fn adopt(&self, epoch: Epoch, head: Position) -> Result<(), DeliveryStoreError> {
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

    /// The lane of an endpoint. If there is none, it is created with its cursor at `start`.
    ///
    /// # Errors
    /// When the database refuses or is damaged.
    pub async fn lane(
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

    /// Every lane with its owner, including those of deleted endpoints. A damaged row does not hide the others.
    ///
    /// # Errors
    /// When the database refuses or is damaged.
    pub async fn lanes(&self) -> Result<Vec<(LaneId, LaneOwner)>, DeliveryStoreError> {
        let lanes = self.database.read(lane_rows::all).await?;
        let owner = |lane: lane_rows::LaneRow| (lane.tenant, lane.webhook);
        Ok(lanes.into_iter().map(|found| (found.id, found.row.map(owner))).collect())
    }

    /// Removes a lane and everything that belongs to it, in short transactions. Calling it again continues.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove(&self, lane: LaneId) -> Result<(), DeliveryStoreError> {
        while !self.database.write(move |conn| removal::remove_some(conn, lane)).await? {
            tokio::time::sleep(reaper::REST).await;
        }
        Ok(())
    }

    /// The unsettled deliveries of a lane.
    ///
    /// # Errors
    /// [`DeliveryStoreError::NoLane`] when it was removed; when the database refuses or is damaged.
    pub async fn unsettled(&self, lane: LaneId) -> Result<Vec<Delivery>, DeliveryStoreError> {
        self.database.read(move |conn| delivery_rows::unsettled(conn, lane)).await
    }

    /// The positions of settled deliveries after a position: a lane that starts there does not repeat them.
    ///
    /// # Errors
    /// When the database refuses or is damaged.
    pub async fn settled_after(
        &self,
        lane: LaneId,
        after: Position,
    ) -> Result<BTreeSet<Position>, DeliveryStoreError> {
        self.database.read(move |conn| delivery_rows::settled_after(conn, lane, after)).await
    }

    /// Writes deliveries as they are now, adds the attempt of each, and saves the lane's progress: all of it or
    /// nothing.
    ///
    /// # Errors
    /// [`DeliveryStoreError::NoLane`] when it was removed; when the database refuses or is damaged.
    pub async fn record(
        &self,
        lane: LaneId,
        progress: LaneProgress,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
    ) -> Result<(), DeliveryStoreError> {
        self.database.write(move |conn| delivery_rows::record(conn, lane, progress, entries)).await
    }

    /// A page of deliveries, newest first, each with its last 50 attempts, oldest first.
    ///
    /// # Errors
    /// When the database refuses or is damaged.
    pub async fn deliveries(
        &self,
        lane: LaneId,
        query: DeliveriesQuery,
    ) -> Result<Vec<(Delivery, Vec<DeliveryAttempt>)>, DeliveryStoreError> {
        self.database.read(move |conn| delivery_rows::page(conn, lane, query)).await
    }

    /// The delivery of a message.
    ///
    /// # Errors
    /// When the database refuses or is damaged.
    pub async fn find(
        &self,
        lane: LaneId,
        message: MessageId,
    ) -> Result<Option<Delivery>, DeliveryStoreError> {
        let of_message = move |conn: &_| {
            delivery_rows::select(conn, delivery_rows::OF_MESSAGE, (lane.0, message.as_bytes().as_slice()))
        };
        Ok(self.database.read(of_message).await?.pop().map(|kept| kept.delivery))
    }

    /// How many deliveries a lane has. They are counted when they are written, so this reads one row.
    ///
    /// # Errors
    /// [`DeliveryStoreError::NoLane`] when it was removed; when the database refuses or is damaged.
    pub async fn counts(&self, lane: LaneId) -> Result<DeliveryTotals, DeliveryStoreError> {
        self.database.read(move |conn| Ok(lane_rows::get(conn, lane)?.totals)).await
    }

    /// Removes settled deliveries that were last written before a time, and the oldest of those beyond `keep`, with
    /// their attempts. It stops after `limit` rows, including attempts. Returns how many deliveries were removed; 0
    /// means that there are no more.
    ///
    /// # Errors
    /// [`DeliveryStoreError::NoLane`] when it was removed; when the database refuses or is damaged.
    pub async fn reap(
        &self,
        lane: LaneId,
        before: Timestamp,
        keep: u32,
        limit: u32,
    ) -> Result<usize, DeliveryStoreError> {
        self.database.write(move |conn| removal::reap(conn, lane, before, keep, limit)).await
    }

    /// Removes every delivery of a session from its tenant's lanes, as [`DeliveryStore::erase_all`] does.
    ///
    /// # Errors
    /// When the database refuses or is damaged; some may have been removed by then.
    pub async fn erase(&self, tenant: &TenantId, session: &SessionId) -> Result<usize, DeliveryStoreError> {
        self.erase_all(tenant, &Arc::new(HashMap::from([(session.clone(), Position::END)]))).await
    }

    /// Overwrites what was removed, so that the files hold no copy of it.
    ///
    /// # Errors
    /// When the database refuses, or somebody reads it for too long.
    pub async fn scrub(&self) -> Result<(), DeliveryStoreError> {
        Ok(self.database.scrub().await?)
    }

    /// Moves everything from the write-ahead log into the one file.
    ///
    /// # Errors
    /// When the database refuses, or somebody reads it for too long.
    pub async fn truncate_log(&self) -> Result<(), DeliveryStoreError> {
        Ok(self.database.truncate_log().await?)
    }

    /// Removes every delivery of some sessions, each up to a position, from the lanes of their tenant, settled or
    /// not, in short transactions and in one pass. Returns how many there were. A lane that still knows such a
    /// delivery would write it again, so lanes forget the sessions first. The files hold copies until they are
    /// scrubbed.
    ///
    /// # Errors
    /// When the database refuses or is damaged. Damaged rows stay, everything else was removed.
    pub async fn erase_all(
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

/// Logs that a damaged lane is skipped.
pub(super) fn log_damaged(lane: LaneId, error: &DeliveryStoreError) {
    tracing::error!(%error, lane = lane.0, "a damaged lane is skipped");
}

impl DeliveryTotals {
    /// How many are no longer attempted.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.delivered.saturating_add(self.failed).saturating_add(self.skipped)
    }

    fn enter(&mut self, status: DeliveryStatus) {
        let count = self.of(status);
        *count = count.saturating_add(1);
    }

    fn leave(&mut self, status: DeliveryStatus) {
        self.leave_many(status, 1);
    }

    fn leave_many(&mut self, status: DeliveryStatus, gone: u64) {
        let count = self.of(status);
        *count = count.saturating_sub(gone);
    }

    fn of(&mut self, status: DeliveryStatus) -> &mut u64 {
        match status {
            DeliveryStatus::Pending => &mut self.pending,
            DeliveryStatus::Delivered => &mut self.delivered,
            DeliveryStatus::Failed => &mut self.failed,
            DeliveryStatus::Refused => &mut self.refused,
            DeliveryStatus::Skipped => &mut self.skipped,
        }
    }
}
