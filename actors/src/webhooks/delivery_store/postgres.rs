//! Deliveries of several nodes, in PostgreSQL.
//!
//! The lane's writes are one call each, which checks the lane's lease in its transaction: a node that another has replaced
//! writes nothing. The methods are those of [`DeliveryStore`](super::DeliveryStore).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use amoiq_events::{
    MessageId, Position, SessionId, TenantId, Timestamp, WebhookId,
    cluster::HeldLease,
    postgres::{CallFailure, CallPool, CallValues, PostgresDatabase, PostgresOpenError, SchemaPart},
    store::Epoch,
};
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;

use self::{
    delivery_columns::{RecordColumns, number},
    outbox_calls::OutboxCalls,
};
use super::{
    CHUNK_ROWS, DeliveriesQuery, DeliveryStoreError, DeliveryTotals, LaneId, LaneOwner, MAX_PAGE,
    RecordedLane, reaper,
};
use crate::webhooks::delivery::{Delivery, DeliveryAttempt, LaneProgress};

mod delivery_columns;
mod outbox_calls;
pub(super) mod relocated_tables;
mod request_rows;

/// How many calls are made at once.
const SESSIONS: usize = 4;

/// How long one step of taking another epoch over waits for other nodes.
const ADOPTING: Duration = Duration::from_mins(1);

/// The tables and functions.
static OUTBOX_PART: SchemaPart =
    SchemaPart { name: "outbox", steps: &[&[include_str!("postgres/outbox.sql")]] };

/// A handle to the tables.
#[derive(Clone)]
pub(super) struct PostgresDeliveries {
    pool: CallPool,
    calls: Arc<OutboxCalls>,
}

impl PostgresDeliveries {
    pub(super) fn open(database: PostgresDatabase) -> Result<Self, PostgresOpenError> {
        database.prepare(&OUTBOX_PART)?;
        let calls = Arc::new(OutboxCalls::new(database.schema()));
        Ok(Self { pool: CallPool::new(database, SESSIONS), calls })
    }

    pub(super) async fn epoch(&self) -> Result<Option<Epoch>, DeliveryStoreError> {
        let rows = self.call(&self.calls.epoch, Vec::new()).await?;
        let epoch = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?.flatten();
        Ok(epoch.map(|number| Epoch(number.cast_unsigned())))
    }

    pub(super) async fn adopt(&self, epoch: Epoch, common: Position) -> Result<(), DeliveryStoreError> {
        let (epoch, common) = (epoch.0.cast_signed(), number(common));
        let begun = self.call_patiently(&self.calls.begin_adoption, || vec![Box::new(epoch)]).await?;
        if !only(&begun)?.try_get(0)? {
            return Ok(());
        }
        let mut next = Some(0_i64);
        while let Some(after) = next {
            let values = || -> CallValues {
                vec![Box::new(epoch), Box::new(common), Box::new(after), Box::new(i64::from(CHUNK_ROWS))]
            };
            next = only(&self.call_patiently(&self.calls.set_back_lanes, values).await?)?.try_get(0)?;
        }
        self.call_patiently(&self.calls.complete_adoption, || vec![Box::new(epoch)]).await.map(drop)
    }

    /// Makes a call that may be repeated, until it is answered: other nodes may do the same at that time, or still write under
    /// the epoch before.
    async fn call_patiently(
        &self,
        text: &Arc<str>,
        values: impl Fn() -> CallValues,
    ) -> Result<Vec<Row>, DeliveryStoreError> {
        let deadline = Instant::now() + ADOPTING;
        loop {
            match self.call(text, values()).await {
                Err(DeliveryStoreError::Unavailable(CallFailure::Postponed(_) | CallFailure::Broken(_)))
                    if Instant::now() < deadline =>
                {
                    sleep(reaper::REST).await;
                }
                answered => return answered,
            }
        }
    }

    pub(super) async fn lane(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        start: Position,
    ) -> Result<(LaneId, LaneProgress), DeliveryStoreError> {
        if let Some(found) = self.find_lane(tenant, webhook).await? {
            return Ok((found.id, found.progress));
        }
        let progress = LaneProgress { cursor: start, ..LaneProgress::default() };
        let values = vec![
            Box::new(tenant.as_str().to_owned()) as _,
            Box::new(webhook.as_str().to_owned()) as _,
            Box::new(delivery_columns::progress_values(&progress)) as _,
        ];
        self.call(&self.calls.make_lane, values).await?;
        let found = self.find_lane(tenant, webhook).await?;
        found.map(|found| (found.id, found.progress)).ok_or(DeliveryStoreError::NoLane)
    }

    pub(super) async fn find_lane(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
    ) -> Result<Option<RecordedLane>, DeliveryStoreError> {
        let values =
            vec![Box::new(tenant.as_str().to_owned()) as _, Box::new(webhook.as_str().to_owned()) as _];
        let rows = self.call(&self.calls.find_lane, values).await?;
        rows.first().map(delivery_columns::lane).transpose()
    }

    pub(super) async fn lanes(&self) -> Result<Vec<(LaneId, LaneOwner)>, DeliveryStoreError> {
        let rows = self.call(&self.calls.lanes, Vec::new()).await?;
        rows.iter().map(|row| Ok((LaneId(row.try_get(0)?), delivery_columns::owner(row)))).collect()
    }

    pub(super) async fn remove(&self, lane: LaneId) -> Result<(), DeliveryStoreError> {
        loop {
            let values = vec![Box::new(lane.0) as _, Box::new(i64::from(CHUNK_ROWS)) as _];
            if only(&self.call(&self.calls.remove, values).await?)?.try_get(0)? {
                return Ok(());
            }
            sleep(reaper::REST).await;
        }
    }

    pub(super) async fn unsettled(&self, lane: LaneId) -> Result<Vec<Delivery>, DeliveryStoreError> {
        self.deliveries_of(&self.calls.unsettled, vec![Box::new(lane.0)]).await
    }

    pub(super) async fn settled_after(
        &self,
        lane: LaneId,
        after: Position,
    ) -> Result<BTreeSet<Position>, DeliveryStoreError> {
        let values = vec![Box::new(lane.0) as _, Box::new(number(after)) as _];
        let rows = self.call(&self.calls.settled_after, values).await?;
        rows.iter().map(|row| Ok(delivery_columns::position(row.try_get(0)?))).collect()
    }

    pub(super) async fn record(
        &self,
        lease: &HeldLease,
        lane: LaneId,
        progress: LaneProgress,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
    ) -> Result<(), DeliveryStoreError> {
        let mut values: CallValues = vec![
            Box::new(lease.name().as_str().to_owned()),
            Box::new(lease.fencing().epoch.0.cast_signed()),
            Box::new(lease.fencing().number.cast_signed()),
            Box::new(lane.0),
            Box::new(delivery_columns::progress_values(&progress)),
        ];
        values.extend(RecordColumns::new(entries).values());
        self.call(&self.calls.record, values).await.map(drop)
    }

    pub(super) async fn deliveries(
        &self,
        lane: LaneId,
        query: DeliveriesQuery,
    ) -> Result<Vec<(Delivery, Vec<DeliveryAttempt>)>, DeliveryStoreError> {
        let before = number(query.before.unwrap_or(Position::END));
        let limit = i64::from(query.limit.min(MAX_PAGE));
        let mut values: CallValues = vec![Box::new(lane.0), Box::new(before), Box::new(limit)];
        let text = match query.status {
            None => &self.calls.page,
            Some(status) => {
                values.push(Box::new(delivery_columns::status_value(status)));
                &self.calls.page_of_status
            }
        };
        let found = self.deliveries_of(text, values).await?;
        let positions: Vec<i64> = found.iter().map(|delivery| number(delivery.position)).collect();
        let values = vec![Box::new(lane.0) as _, Box::new(positions) as _];
        let mut attempts: HashMap<Position, Vec<DeliveryAttempt>> = HashMap::new();
        for row in self.call(&self.calls.attempts, values).await? {
            let of = delivery_columns::position(row.try_get(0)?);
            attempts.entry(of).or_default().push(delivery_columns::attempt(&row)?);
        }
        let with_attempts = |delivery: Delivery| {
            let attempts = attempts.remove(&delivery.position).unwrap_or_default();
            (delivery, attempts)
        };
        Ok(found.into_iter().map(with_attempts).collect())
    }

    pub(super) async fn find(
        &self,
        lane: LaneId,
        message: MessageId,
    ) -> Result<Option<Delivery>, DeliveryStoreError> {
        let values = vec![Box::new(lane.0) as _, Box::new(delivery_columns::uuid(message.as_bytes())) as _];
        Ok(self.deliveries_of(&self.calls.of_message, values).await?.pop())
    }

    pub(super) async fn counts(&self, lane: LaneId) -> Result<DeliveryTotals, DeliveryStoreError> {
        let rows = self.call(&self.calls.counts, vec![Box::new(lane.0)]).await?;
        let row = rows.first().ok_or(DeliveryStoreError::NoLane)?;
        delivery_columns::totals(row, 0)
    }

    pub(super) async fn reap(
        &self,
        lane: LaneId,
        before: Timestamp,
        keep: u32,
        limit: u32,
    ) -> Result<usize, DeliveryStoreError> {
        let values: CallValues = vec![
            Box::new(lane.0),
            Box::new(before.as_millis()),
            Box::new(i64::from(keep)),
            Box::new(i64::from(limit)),
        ];
        let rows = self.call(&self.calls.reap, values).await?;
        let gone: i64 = only(&rows)?.try_get(0)?;
        Ok(usize::try_from(gone).unwrap_or_default())
    }

    pub(super) async fn erase_all(
        &self,
        tenant: &TenantId,
        sessions: &Arc<HashMap<SessionId, Position>>,
    ) -> Result<usize, DeliveryStoreError> {
        let names: Vec<String> = sessions.keys().map(|session| session.as_str().to_owned()).collect();
        let untils: Vec<i64> = sessions.values().map(|until| number(*until)).collect();
        let of_tenant = tenant.as_str().to_owned();
        let values = vec![
            Box::new(of_tenant.clone()) as _,
            Box::new(names.clone()) as _,
            Box::new(untils.clone()) as _,
        ];
        self.call(&self.calls.note_erased, values).await?;
        let mut erased = 0;
        for row in self.call(&self.calls.lanes_of_tenant, vec![Box::new(of_tenant)]).await? {
            let (lane, mut next): (i64, Option<i64>) = (row.try_get(0)?, Some(-1));
            while let Some(after) = next {
                let values: CallValues = vec![
                    Box::new(lane),
                    Box::new(names.clone()),
                    Box::new(untils.clone()),
                    Box::new(after),
                    Box::new(i64::from(CHUNK_ROWS)),
                ];
                match self.call(&self.calls.erase, values).await {
                    Ok(rows) => {
                        let row = only(&rows)?;
                        erased += usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or_default();
                        next = row.try_get(1)?;
                    }
                    // The lane was removed meanwhile, with all its deliveries.
                    Err(DeliveryStoreError::NoLane) => next = None,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(erased)
    }

    /// Makes the room of removed deliveries free for others. As with the log, removal is logical here: bytes stay in the
    /// server's files until they are overwritten.
    pub(super) async fn scrub(&self) -> Result<(), DeliveryStoreError> {
        let database = self.pool.database();
        let vacuum = ["deliveries", "attempts"]
            .map(|table| database.schema().fill(&format!("VACUUM {{schema}}.{table}")));
        let on_thread = database.clone();
        let vacuuming = database.spawn(async move {
            let mut session = on_thread.connect().await?;
            session.execute("SET statement_timeout = 0", outbox_calls::VACUUM).await?;
            for table in &vacuum {
                session.execute(table, outbox_calls::VACUUM).await?;
            }
            Ok(())
        });
        vacuuming.await.unwrap_or(Err(DeliveryStoreError::Closed))
    }

    async fn call(&self, text: &Arc<str>, values: CallValues) -> Result<Vec<Row>, DeliveryStoreError> {
        Ok(self.pool.call(text, values).await?)
    }

    async fn deliveries_of(
        &self,
        text: &Arc<str>,
        values: CallValues,
    ) -> Result<Vec<Delivery>, DeliveryStoreError> {
        self.call(text, values).await?.iter().map(delivery_columns::delivery).collect()
    }
}

fn only(rows: &[Row]) -> Result<&Row, DeliveryStoreError> {
    rows.first().ok_or(DeliveryStoreError::Damaged("an answer"))
}
