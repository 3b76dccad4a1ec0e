//! Requests of one node to another: rows that are asked, taken by the node that has the lane, answered, and removed.

use std::time::Duration;

use amoiq_events::{MessageId, Position, SessionId, postgres::CallValues};
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    PostgresDeliveries,
    delivery_columns::{number, position, status_value, uuid},
};
use crate::webhooks::{
    delivery::DeliveryStatus,
    delivery_store::{
        DeliveryStoreError, LaneId,
        lane_requests::{LaneReply, LaneRequest, TakenRequest},
    },
};

/// How long an answer is waited for. A request that nobody has taken by then is not carried out any more.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl PostgresDeliveries {
    pub(in crate::webhooks::delivery_store) async fn ask(
        &self,
        id: Uuid,
        lane: LaneId,
        request: LaneRequest,
    ) -> Result<Option<LaneReply>, DeliveryStoreError> {
        let deadline = Instant::now() + PATIENCE;
        let patience_ms = i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
        let mut values: CallValues = vec![Box::new(id), Box::new(lane.0), Box::new(patience_ms)];
        values.extend(columns(request));
        self.call(&self.calls.ask, values).await?;
        while Instant::now() < deadline {
            let rows = self.call(&self.calls.reply_to, vec![Box::new(id)]).await?;
            if let Some(row) = rows.first() {
                let count: i64 = row.try_get(0)?;
                let count = usize::try_from(count).unwrap_or_default();
                let reply = LaneReply { count, refusal: row.try_get(1)? };
                // One that stays is removed with what nobody fetched.
                if let Err(error) = self.call(&self.calls.forget_request, vec![Box::new(id)]).await {
                    tracing::debug!(%error, "an answered request stays for a while");
                }
                return Ok(Some(reply));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }

    pub(in crate::webhooks::delivery_store) async fn take_requests(
        &self,
        lanes: &[LaneId],
    ) -> Result<Vec<TakenRequest>, DeliveryStoreError> {
        let lanes: Vec<i64> = lanes.iter().map(|lane| lane.0).collect();
        let rows = self.call(&self.calls.take_requests, vec![Box::new(lanes)]).await?;
        rows.iter().map(taken).collect()
    }

    pub(in crate::webhooks::delivery_store) async fn reply(
        &self,
        id: Uuid,
        reply: LaneReply,
    ) -> Result<(), DeliveryStoreError> {
        let count = i64::try_from(reply.count).unwrap_or(i64::MAX);
        let values = vec![Box::new(id) as _, Box::new(count) as _, Box::new(reply.refusal) as _];
        self.call(&self.calls.reply, values).await.map(drop)
    }
}

/// In the order of the table.
fn columns(request: LaneRequest) -> CallValues {
    let LaneRequest { kind, message, after, until, status, session } = request;
    vec![
        Box::new(kind),
        Box::new(message.map(|id| uuid(id.as_bytes()))),
        Box::new(after.map(number)),
        Box::new(until.map(number)),
        Box::new(status.map(status_value)),
        Box::new(session.map(|session| session.as_str().to_owned())),
    ]
}

fn taken(row: &Row) -> Result<TakenRequest, DeliveryStoreError> {
    let damaged = || DeliveryStoreError::Damaged("lane_requests");
    let message: Option<Uuid> = row.try_get(3)?;
    let bound = |column| row.try_get::<_, Option<i64>>(column).map(|number| number.map(position));
    let (after, until): (Option<Position>, Option<Position>) = (bound(4)?, bound(5)?);
    let status: Option<i32> = row.try_get(6)?;
    let session: Option<&str> = row.try_get(7)?;
    let request = LaneRequest {
        kind: row.try_get(2)?,
        message: message.map(|id| MessageId::from_bytes(id.into_bytes())),
        after,
        until,
        status: status.and_then(|status| DeliveryStatus::of_number(status.into())),
        session: session.map(SessionId::parse).transpose().map_err(|_invalid| damaged())?,
    };
    Ok(TakenRequest { id: row.try_get(0)?, lane: LaneId(row.try_get(1)?), request })
}
