//! Deliveries, attempts and progress as values and columns.

use std::time::Duration;

use amoiq_events::{
    EventId, MessageId, Position, SessionId, TenantId, Timestamp, WebhookId, postgres::CallValues,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::webhooks::{
    delivery::{Delivery, DeliveryAttempt, DeliveryStatus, HoldOff, LaneProgress, ReplayProgress},
    delivery_store::{
        ANSWER_BYTES, DeliveryStoreError, DeliveryTotals, KEPT_ATTEMPTS, LaneId, LaneOwner, RecordedLane,
    },
};

/// A position as the database counts. One that it cannot count comes after all others.
pub(super) fn number(position: Position) -> i64 {
    i64::try_from(position.as_u64()).unwrap_or(i64::MAX)
}

pub(super) fn position(number: i64) -> Position {
    Position::from_u64(number.cast_unsigned())
}

pub(super) fn uuid(bytes: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*bytes)
}

pub(super) fn status_value(status: DeliveryStatus) -> i32 {
    i32::try_from(status.number()).unwrap_or_default()
}

/// What is recorded, column by column.
#[derive(Default)]
pub(super) struct RecordColumns {
    positions: Vec<i64>,
    event_ids: Vec<Uuid>,
    message_ids: Vec<Uuid>,
    sessions: Vec<String>,
    statuses: Vec<i32>,
    tries: Vec<i64>,
    next_ats: Vec<Option<i64>>,
    holds: Vec<bool>,
    refused_ats: Vec<Option<i64>>,
    changed_ats: Vec<i64>,
    attempt_ats: Vec<Option<i64>>,
    durations: Vec<Option<i64>>,
    answer_statuses: Vec<Option<i32>>,
    errors: Vec<Option<String>>,
    answers: Vec<Option<Vec<u8>>>,
}

impl RecordColumns {
    pub(super) fn new(entries: Vec<(Delivery, Option<DeliveryAttempt>)>) -> Self {
        let mut columns = Self::default();
        for (delivery, attempt) in entries {
            columns.positions.push(number(delivery.position));
            columns.event_ids.push(uuid(delivery.event_id.as_bytes()));
            columns.message_ids.push(uuid(delivery.message_id.as_bytes()));
            columns.sessions.push(delivery.session.as_str().to_owned());
            columns.statuses.push(status_value(delivery.status));
            columns.tries.push(delivery.tries.into());
            columns.next_ats.push(delivery.next_at.map(Timestamp::as_millis));
            columns.holds.push(delivery.holds);
            columns.refused_ats.push(delivery.refused_at.map(Timestamp::as_millis));
            columns.changed_ats.push(delivery.changed_at.as_millis());
            columns.push_attempt(attempt);
        }
        columns
    }

    fn push_attempt(&mut self, attempt: Option<DeliveryAttempt>) {
        self.attempt_ats.push(attempt.as_ref().map(|attempt| attempt.at.as_millis()));
        self.durations.push(attempt.as_ref().map(|attempt| attempt.duration_ms.into()));
        self.answer_statuses.push(attempt.as_ref().and_then(|attempt| attempt.status).map(i32::from));
        // The database has no text with a NUL.
        let error = attempt.as_ref().and_then(|attempt| attempt.error.as_ref());
        self.errors.push(error.map(|error| error.replace('\0', "\u{fffd}")));
        self.answers.push(attempt.map(|attempt| {
            let mut answer = attempt.answer;
            answer.truncate(ANSWER_BYTES);
            answer
        }));
    }

    /// In the order of the function's parameters.
    pub(super) fn values(self) -> CallValues {
        vec![
            Box::new(self.positions),
            Box::new(self.event_ids),
            Box::new(self.message_ids),
            Box::new(self.sessions),
            Box::new(self.statuses),
            Box::new(self.tries),
            Box::new(self.next_ats),
            Box::new(self.holds),
            Box::new(self.refused_ats),
            Box::new(self.changed_ats),
            Box::new(self.attempt_ats),
            Box::new(self.durations),
            Box::new(self.answer_statuses),
            Box::new(self.errors),
            Box::new(self.answers),
            Box::new(i64::from(KEPT_ATTEMPTS)),
        ]
    }
}

/// A lane's progress as its array.
pub(super) fn progress_values(progress: &LaneProgress) -> Vec<Option<i64>> {
    let LaneProgress { cursor, failing_since, hold_off, replay } = progress;
    let wait = |hold_off: &HoldOff| i64::try_from(hold_off.wait.as_millis()).unwrap_or(i64::MAX);
    vec![
        Some(number(*cursor)),
        failing_since.map(Timestamp::as_millis),
        hold_off.map(|hold_off| hold_off.until.as_millis()),
        hold_off.as_ref().map(wait),
        replay.map(|replay| number(replay.after)),
        replay.map(|replay| number(replay.until)),
        replay.map(|replay| number(replay.cursor)),
        replay.map(|replay| replay.begun.cast_signed()),
        replay.map(|replay| i64::from(replay.is_cancelled)),
    ]
}

fn progress(values: &[Option<i64>]) -> Result<LaneProgress, DeliveryStoreError> {
    let &[cursor, failing_since, until, wait_ms, after, replay_until, replay_cursor, begun, ended] = values
    else {
        return Err(DeliveryStoreError::Damaged("lanes"));
    };
    let hold_off = until.zip(wait_ms).map(|(until, wait_ms)| HoldOff {
        until: Timestamp::from_millis(until),
        wait: Duration::from_millis(wait_ms.cast_unsigned()),
    });
    let replay = match (after, replay_until, replay_cursor, begun, ended) {
        (Some(after), Some(until), Some(cursor), Some(begun), Some(ended)) => Some(ReplayProgress {
            after: position(after),
            until: position(until),
            cursor: position(cursor),
            begun: begun.cast_unsigned(),
            is_cancelled: ended != 0,
        }),
        _ => None,
    };
    let cursor = position(cursor.ok_or(DeliveryStoreError::Damaged("lanes"))?);
    Ok(LaneProgress { cursor, failing_since: failing_since.map(Timestamp::from_millis), hold_off, replay })
}

/// A lane.
pub(super) fn lane(row: &Row) -> Result<RecordedLane, DeliveryStoreError> {
    let values: Vec<Option<i64>> = row.try_get(1)?;
    Ok(RecordedLane { id: LaneId(row.try_get(0)?), progress: progress(&values)?, totals: totals(row, 2)? })
}

/// The tenant and the endpoint of a lane.
pub(super) fn owner(row: &Row) -> LaneOwner {
    let damaged = || DeliveryStoreError::Damaged("lanes");
    let tenant = TenantId::try_from(row.try_get::<_, String>(1)?).map_err(|_invalid| damaged())?;
    let webhook = WebhookId::parse(row.try_get(2)?).map_err(|_invalid| damaged())?;
    Ok((tenant, webhook))
}

/// The counts of a lane, which are in this column.
pub(super) fn totals(row: &Row, column: usize) -> Result<DeliveryTotals, DeliveryStoreError> {
    let counts: Vec<i64> = row.try_get(column)?;
    let &[pending, delivered, failed, refused, skipped] = &counts[..] else {
        return Err(DeliveryStoreError::Damaged("lanes"));
    };
    let [pending, delivered, failed, refused, skipped] =
        [pending, delivered, failed, refused, skipped].map(i64::cast_unsigned);
    Ok(DeliveryTotals { pending, delivered, failed, refused, skipped })
}

/// A delivery.
pub(super) fn delivery(row: &Row) -> Result<Delivery, DeliveryStoreError> {
    let damaged = || DeliveryStoreError::Damaged("deliveries");
    let status: i32 = row.try_get(4)?;
    let tries: i64 = row.try_get(5)?;
    let time = |column| row.try_get::<_, Option<i64>>(column).map(|time| time.map(Timestamp::from_millis));
    Ok(Delivery {
        position: position(row.try_get(0)?),
        event_id: EventId::from_bytes(row.try_get::<_, Uuid>(1)?.into_bytes()),
        message_id: MessageId::from_bytes(row.try_get::<_, Uuid>(2)?.into_bytes()),
        session: SessionId::parse(row.try_get(3)?).map_err(|_invalid| damaged())?,
        status: DeliveryStatus::of_number(status.into()).ok_or_else(damaged)?,
        tries: u32::try_from(tries).map_err(|_out_of_range| damaged())?,
        next_at: time(6)?,
        holds: row.try_get(7)?,
        refused_at: time(8)?,
        changed_at: Timestamp::from_millis(row.try_get(9)?),
    })
}

/// An attempt.
pub(super) fn attempt(row: &Row) -> Result<DeliveryAttempt, DeliveryStoreError> {
    let damaged = || DeliveryStoreError::Damaged("attempts");
    let duration_ms: i64 = row.try_get(2)?;
    let status: Option<i32> = row.try_get(3)?;
    Ok(DeliveryAttempt {
        at: Timestamp::from_millis(row.try_get(1)?),
        duration_ms: u32::try_from(duration_ms).map_err(|_out_of_range| damaged())?,
        status: status.map(u16::try_from).transpose().map_err(|_out_of_range| damaged())?,
        error: row.try_get(4)?,
        answer: row.try_get(5)?,
    })
}
