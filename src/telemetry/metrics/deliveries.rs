//! The numbers of webhook delivery. They are of all endpoints together: an endpoint's own are what its owner
//! reads at `GET /api/webhooks/{id}`.

use amoiq_events::{EventStore, webhook::WebhookStatus};

use super::{Sources, sheet::Sheet};

/// Puts them down.
pub(super) async fn fill(sources: &Sources, sheet: &mut Sheet) {
    let counts = sources.webhooks.counters();
    let outcomes = [("success", counts.succeeded()), ("failure", counts.failed())];
    sheet.counters("amoiq_webhook_attempts", "Attempts to deliver", "outcome", outcomes);
    sheet.counter(
        "amoiq_webhook_deliveries_given_up",
        "Deliveries whose schedule is exhausted, or whose message is gone",
        counts.given_up(),
    );
    sheet.counter(
        "amoiq_webhook_deliveries_refused",
        "Deliveries set aside: their endpoint refuses them and takes others",
        counts.set_aside(),
    );
    sheet.counter(
        "amoiq_webhook_deliveries_skipped",
        "Deliveries that endpoints' owners do not wait for",
        counts.skipped(),
    );
    sheet.histogram(
        "amoiq_webhook_attempt_duration_seconds",
        "How long attempts take, from connecting to the answer's end",
        counts.durations(),
        1e6,
    );
    lanes(sources, sheet).await;
}

async fn lanes(sources: &Sources, sheet: &mut Sheet) {
    let head = sources.store.head();
    let (mut enabled, mut paused, mut disabled, mut failing) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut pending, mut in_flight, mut refused, mut held, mut slowest) = (0, 0, 0, 0, head);
    for (endpoint, standing) in sources.webhooks.statuses().await {
        pending += standing.pending;
        in_flight += standing.in_flight;
        refused += standing.refused;
        held += standing.held_sessions;
        match endpoint.webhook.status {
            WebhookStatus::Enabled => {
                enabled += 1;
                failing += u64::from(standing.failing_since.is_some());
                slowest = slowest.min(standing.cursor);
            }
            WebhookStatus::Paused => paused += 1,
            WebhookStatus::Disabled { .. } => disabled += 1,
        }
    }
    let states = [("enabled", enabled), ("paused", paused), ("disabled", disabled)];
    sheet.gauges("amoiq_webhook_lanes", "Endpoints", "state", states);
    sheet.gauge("amoiq_webhook_lanes_failing", "Enabled endpoints that take nothing", failing);
    sheet.gauge("amoiq_webhook_pending_deliveries", "Deliveries that wait in memory and outbox.db", pending);
    sheet.gauge(
        "amoiq_webhook_refused_deliveries",
        "Deliveries that were set aside and are tried on",
        refused,
    );
    sheet.gauge("amoiq_webhook_held_sessions", "Sessions that wait for a message that was refused", held);
    sheet.gauge("amoiq_webhook_in_flight_attempts", "Attempts that are made or noted", in_flight);
    let lag = head.as_u64().saturating_sub(slowest.as_u64());
    sheet.gauge("amoiq_webhook_lag_events", "Positions that the slowest enabled endpoint is behind", lag);
    sheet.gauge(
        "amoiq_webhook_lag_seconds",
        "How old the first event is that the slowest enabled endpoint has not passed",
        sources.age_after(slowest).await,
    );
}
