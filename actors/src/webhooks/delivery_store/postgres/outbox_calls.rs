//! The texts of all calls.

use std::{sync::Arc, time::Duration};

use amoiq_events::postgres::SchemaName;

/// What removing dead rows may take.
pub(super) const VACUUM: Duration = Duration::from_hours(1);

/// The columns of a delivery, in the order in which they are decoded.
const DELIVERY: &str =
    "position, event_id, message_id, session, status, tries, next_at, holds, refused_at, changed_at";

/// Each with the values that it takes.
pub(super) struct OutboxCalls {
    /// Nothing.
    pub(super) epoch: Arc<str>,
    /// Epoch.
    pub(super) begin_adoption: Arc<str>,
    /// Epoch, position, lane, limit.
    pub(super) set_back_lanes: Arc<str>,
    /// Epoch.
    pub(super) complete_adoption: Arc<str>,
    /// Tenant, webhook.
    pub(super) find_lane: Arc<str>,
    /// Tenant, webhook, progress.
    pub(super) make_lane: Arc<str>,
    /// Nothing.
    pub(super) lanes: Arc<str>,
    /// Tenant.
    pub(super) lanes_of_tenant: Arc<str>,
    /// Lane, limit.
    pub(super) remove: Arc<str>,
    /// Lane.
    pub(super) unsettled: Arc<str>,
    /// Lane, position.
    pub(super) settled_after: Arc<str>,
    /// Lease, epoch, number, lane, progress, and the columns of what is recorded.
    pub(super) record: Arc<str>,
    /// Lane, position, limit.
    pub(super) page: Arc<str>,
    /// The same, and a status.
    pub(super) page_of_status: Arc<str>,
    /// Lane, positions.
    pub(super) attempts: Arc<str>,
    /// Lane, message.
    pub(super) of_message: Arc<str>,
    /// Lane.
    pub(super) counts: Arc<str>,
    /// Lane, time, how many are kept, limit.
    pub(super) reap: Arc<str>,
    /// Tenant, sessions, positions.
    pub(super) note_erased: Arc<str>,
    /// Lane, sessions, positions, position, limit.
    pub(super) erase: Arc<str>,
    /// Request, lane, patience, kind, message, after, until, status, session.
    pub(super) ask: Arc<str>,
    /// Request.
    pub(super) reply_to: Arc<str>,
    /// Request.
    pub(super) forget_request: Arc<str>,
    /// Lanes.
    pub(super) take_requests: Arc<str>,
    /// Request, count, refusal.
    pub(super) reply: Arc<str>,
}

impl OutboxCalls {
    pub(super) fn new(schema: &SchemaName) -> Self {
        let text = |text: &str| schema.statement(text);
        let deliveries = |rest: &str| {
            schema.statement(&format!("SELECT {DELIVERY} FROM {{schema}}.deliveries WHERE lane = $1 {rest}"))
        };
        Self {
            epoch: text("SELECT epoch FROM {schema}.outbox"),
            begin_adoption: text("SELECT {schema}.begin_adoption($1)"),
            set_back_lanes: text("SELECT {schema}.set_back_lanes($1, $2, $3, $4)"),
            complete_adoption: text("SELECT {schema}.complete_adoption($1)"),
            find_lane: text(
                "SELECT id, progress, totals FROM {schema}.lanes WHERE tenant = $1 AND webhook = $2",
            ),
            make_lane: text(
                "INSERT INTO {schema}.lanes (tenant, webhook, progress) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            ),
            lanes: text("SELECT id, tenant, webhook FROM {schema}.lanes ORDER BY id"),
            lanes_of_tenant: text("SELECT id FROM {schema}.lanes WHERE tenant = $1 ORDER BY id"),
            remove: text("SELECT {schema}.remove_lane($1, $2)"),
            unsettled: deliveries("AND status IN (0, 3) ORDER BY position"),
            settled_after: text(
                "SELECT position FROM {schema}.deliveries
                 WHERE lane = $1 AND position > $2 AND status NOT IN (0, 3) ORDER BY position",
            ),
            record: text(
                "SELECT {schema}.record_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
                 $16, $17, $18, $19, $20, $21)",
            ),
            page: deliveries("AND position < $2 ORDER BY position DESC LIMIT $3"),
            page_of_status: deliveries("AND position < $2 AND status = $4 ORDER BY position DESC LIMIT $3"),
            attempts: text(
                "SELECT position, at, duration_ms, status, error, answer FROM {schema}.attempts
                 WHERE lane = $1 AND position = ANY ($2) ORDER BY position, number",
            ),
            of_message: deliveries("AND message_id = $2 LIMIT 1"),
            counts: text("SELECT totals FROM {schema}.lanes WHERE id = $1"),
            reap: text("SELECT {schema}.reap_deliveries($1, $2, $3, $4)"),
            note_erased: text("SELECT {schema}.note_erased($1, $2, $3)"),
            erase: text("SELECT erased, last_position FROM {schema}.erase_deliveries($1, $2, $3, $4, $5)"),
            ask: text(
                "INSERT INTO {schema}.lane_requests
                    (id, lane, until_taken, kind, message, after, until, status, session)
                 VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond', $4, $5, $6, $7, $8, $9)
                 ON CONFLICT DO NOTHING",
            ),
            reply_to: text("SELECT count, refusal FROM {schema}.lane_requests WHERE id = $1 AND is_answered"),
            forget_request: text("DELETE FROM {schema}.lane_requests WHERE id = $1"),
            take_requests: text("SELECT * FROM {schema}.take_requests($1)"),
            reply: text(
                "UPDATE {schema}.lane_requests SET is_answered = true, count = $2, refusal = $3 WHERE id = $1",
            ),
        }
    }
}
