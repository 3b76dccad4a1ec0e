//! What is known of deliveries beside the log: how far each endpoint is, its deliveries and their attempts.
//!
//! No rebuild creates or changes it. What was recorded survives the end of the process. A power failure may lose the last
//! moments; what was delivered in them is delivered again, under the same ids.
//!
//! One node keeps it in `outbox.db`, several in tables that they share. Then each lane runs on the node
//! that has its lease, and its writes are guarded by it; the other nodes read, and ask for what only the
//! lane can do.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use amoiq_events::{
    MessageId, Position, SessionId, TenantId, Timestamp, WebhookId,
    cluster::HeldLease,
    postgres::{PostgresDatabase, PostgresOpenError},
    store::Epoch,
};

use crate::webhooks::delivery::{Delivery, DeliveryAttempt, DeliveryStatus, LaneProgress};

mod error;
mod lane_requests;
mod postgres;
pub mod reaper;
mod relocated_rows;
pub mod relocation;
mod shared_lanes;
mod sqlite;

pub use error::DeliveryStoreError;
pub(super) use lane_requests::{LaneReply, LaneRequest, TakenRequest};
use postgres::PostgresDeliveries;
use sqlite::SqliteDeliveries;
pub use sqlite::verification::DELIVERY_DATABASE;

/// How many attempts of a delivery are kept: the schedule five times over.
const KEPT_ATTEMPTS: u32 = 50;

/// How many bytes of an answer are stored.
const ANSWER_BYTES: usize = 1_024;

/// The most rows that one transaction removes or reads.
const CHUNK_ROWS: u32 = 1_000;

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

/// A lane as it was recorded last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordedLane {
    pub(super) id: LaneId,
    pub(super) progress: LaneProgress,
    pub(super) totals: DeliveryTotals,
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

/// Says whether what is recorded under a lease may be written.
pub type LeaseGuard = Arc<dyn Fn(&HeldLease) -> bool + Send + Sync>;

/// A handle to it.
#[derive(Clone)]
pub struct DeliveryStore(DeliveryBackend);

#[derive(Clone)]
enum DeliveryBackend {
    Sqlite(SqliteDeliveries),
    Postgres(PostgresDeliveries),
}

/// Asks the backend.
macro_rules! ask {
    ($store:expr, $call:ident($($argument:expr),*)) => {
        match &$store.0 {
            DeliveryBackend::Sqlite(deliveries) => deliveries.$call($($argument),*).await,
            DeliveryBackend::Postgres(deliveries) => deliveries.$call($($argument),*).await,
        }
    };
}

impl DeliveryStore {
    /// Opens `outbox.db`, or creates it. A damaged one is never deleted.
    ///
    /// # Errors
    /// When it is damaged or was written by another release. The text says what to do.
    pub fn open(path: &Path) -> Result<Self, DeliveryStoreError> {
        Ok(Self(DeliveryBackend::Sqlite(SqliteDeliveries::open(path)?)))
    }

    /// The tables that several nodes share; makes them when they do not exist. It blocks until the database has answered. What
    /// lanes record there is guarded by their leases, which have to be in the same database and schema.
    ///
    /// # Errors
    /// A [`PostgresOpenError`], whose text says what to do.
    pub fn shared(database: PostgresDatabase) -> Result<Self, PostgresOpenError> {
        Ok(Self(DeliveryBackend::Postgres(PostgresDeliveries::open(database)?)))
    }

    /// A database in memory, which its clones share: for simulations.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn in_memory() -> Result<Self, DeliveryStoreError> {
        Ok(Self(DeliveryBackend::Sqlite(SqliteDeliveries::in_memory(Arc::new(|_| true))?)))
    }

    /// The same for several nodes of a simulation.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn in_memory_guarded(guard: LeaseGuard) -> Result<Self, DeliveryStoreError> {
        Ok(Self(DeliveryBackend::Sqlite(SqliteDeliveries::in_memory(guard)?)))
    }

    /// The epoch of the log that was followed last; `None` before the first.
    ///
    /// # Errors
    /// When the database refuses or is damaged.
    pub async fn epoch(&self) -> Result<Option<Epoch>, DeliveryStoreError> {
        ask!(self, epoch())
    }

    /// Takes over the log's epoch. If it is another than the stored one, cursors and replays are set back to `head`, the last
    /// position that both histories have, and deliveries after it are removed. The caller knows it from when the log was
    /// opened, before anything is appended: later events are for every endpoint.
    ///
    /// # Errors
    /// When the database refuses or is damaged. A part may have been set back by then; nothing is recorded until this was
    /// done again. [`DeliveryStoreError::OtherEpoch`] when the log has left this epoch meanwhile.
    pub async fn adopt(&self, epoch: Epoch, head: Position) -> Result<(), DeliveryStoreError> {
        ask!(self, adopt(epoch, head))
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
        ask!(self, lane(tenant, webhook, start))
    }

    /// Every lane with its owner, including those of deleted endpoints. A damaged row does not hide the others.
    ///
    /// # Errors
    /// When the database refuses or is damaged.
    pub async fn lanes(&self) -> Result<Vec<(LaneId, LaneOwner)>, DeliveryStoreError> {
        ask!(self, lanes())
    }

    /// Removes a lane and everything that belongs to it, in short transactions. Calling it again continues.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove(&self, lane: LaneId) -> Result<(), DeliveryStoreError> {
        ask!(self, remove(lane))
    }

    /// The unsettled deliveries of a lane.
    ///
    /// # Errors
    /// [`DeliveryStoreError::NoLane`] when it was removed; when the database refuses or is damaged.
    pub async fn unsettled(&self, lane: LaneId) -> Result<Vec<Delivery>, DeliveryStoreError> {
        ask!(self, unsettled(lane))
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
        ask!(self, settled_after(lane, after))
    }

    /// Writes deliveries as they are now, adds the attempt of each, and saves the lane's progress: all of it or
    /// nothing, and nothing when another node may have the lane.
    ///
    /// # Errors
    /// [`DeliveryStoreError::NoLane`] when it was removed; [`DeliveryStoreError::LeaseLost`]; when the database refuses
    /// or is damaged.
    pub async fn record(
        &self,
        lease: &HeldLease,
        lane: LaneId,
        progress: LaneProgress,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
    ) -> Result<(), DeliveryStoreError> {
        ask!(self, record(lease, lane, progress, entries))
    }

    /// The same when nobody waits for it: it is written with what others record within a moment, unless somebody
    /// [hurries](DeliveryStore::hurry).
    pub(super) async fn record_soon(
        &self,
        lease: &HeldLease,
        lane: LaneId,
        progress: LaneProgress,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
    ) -> Result<(), DeliveryStoreError> {
        match &self.0 {
            DeliveryBackend::Sqlite(deliveries) => {
                deliveries.record_soon(lease, lane, progress, entries).await
            }
            // Every lane writes on its own: there is nothing to wait for.
            DeliveryBackend::Postgres(deliveries) => deliveries.record(lease, lane, progress, entries).await,
        }
    }

    /// Somebody waits for what is to be recorded soon.
    pub(super) fn hurry(&self) {
        if let DeliveryBackend::Sqlite(deliveries) = &self.0 {
            deliveries.hurry();
        }
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
        ask!(self, deliveries(lane, query))
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
        ask!(self, find(lane, message))
    }

    /// How many deliveries a lane has. They are counted when they are written, so this reads one row.
    ///
    /// # Errors
    /// [`DeliveryStoreError::NoLane`] when it was removed; when the database refuses or is damaged.
    pub async fn counts(&self, lane: LaneId) -> Result<DeliveryTotals, DeliveryStoreError> {
        ask!(self, counts(lane))
    }

    /// Removes settled deliveries that were last written before a time, and the oldest beyond `keep`, with their
    /// attempts. It stops after `limit` rows of both. Returns how many deliveries were removed; 0: there are no more.
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
        ask!(self, reap(lane, before, keep, limit))
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
        ask!(self, scrub())
    }

    /// Moves everything from the write-ahead log into the one file.
    ///
    /// # Errors
    /// When the database refuses, or somebody reads it for too long.
    pub async fn truncate_log(&self) -> Result<(), DeliveryStoreError> {
        match &self.0 {
            DeliveryBackend::Sqlite(deliveries) => deliveries.truncate_log().await,
            DeliveryBackend::Postgres(_) => Ok(()),
        }
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
        ask!(self, erase_all(tenant, sessions))
    }
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
