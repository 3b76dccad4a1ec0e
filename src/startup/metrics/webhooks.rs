//! The numbers of webhook delivery, over all endpoints together. The owner of an endpoint reads its own numbers at
//! `GET /api/webhooks/{id}`.

use amoiq_actors::webhooks::WebhooksHandle;
use amoiq_events::webhook::WebhookStatus;

use super::EventAges;
use crate::telemetry::metrics::{Collected, MetricCollector, MetricFamilies};

pub(super) struct WebhookCollector {
    pub(super) webhooks: WebhooksHandle,
    pub(super) ages: EventAges,
}

impl MetricCollector for WebhookCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        self.attempts(families);
        Box::pin(self.lanes(families))
    }
}

impl WebhookCollector {
    fn attempts(&self, families: &mut MetricFamilies) {
        let counts = self.webhooks.counters();
        let outcomes = [("success", counts.succeeded()), ("failure", counts.failed())];
        families.counters("amoiq_webhook_attempts", "Attempts to deliver", "outcome", outcomes);
        families.counter(
            "amoiq_webhook_deliveries_given_up",
            "Deliveries whose schedule is exhausted, or whose message is gone",
            counts.given_up(),
        );
        families.counter(
            "amoiq_webhook_deliveries_refused",
            "Deliveries set aside: their endpoint refuses them and takes others",
            counts.set_aside(),
        );
        families.counter(
            "amoiq_webhook_deliveries_skipped",
            "Deliveries that the owners of endpoints skipped",
            counts.skipped(),
        );
        families.histogram(
            "amoiq_webhook_attempt_duration_seconds",
            "How long attempts take, from connecting to the answer's end",
            counts.durations(),
            1e6,
        );
    }

    async fn lanes(&self, families: &mut MetricFamilies) {
        let head = self.ages.log.head();
        let (mut enabled, mut paused, mut disabled, mut failing) = (0_u64, 0_u64, 0_u64, 0_u64);
        let (mut pending, mut in_flight, mut refused, mut held, mut slowest) = (0, 0, 0, 0, head);
        for (endpoint, standing) in self.webhooks.statuses().await {
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
        families.gauges("amoiq_webhook_lanes", "Endpoints", "state", states);
        families.gauge("amoiq_webhook_lanes_failing", "Enabled endpoints whose attempts all fail", failing);
        families.gauge(
            "amoiq_webhook_pending_deliveries",
            "Deliveries that wait in memory and outbox.db",
            pending,
        );
        families.gauge(
            "amoiq_webhook_refused_deliveries",
            "Deliveries that were set aside and are still tried",
            refused,
        );
        families.gauge(
            "amoiq_webhook_held_sessions",
            "Sessions that wait for a message that was refused",
            held,
        );
        families.gauge("amoiq_webhook_in_flight_attempts", "Attempts that are made or noted", in_flight);
        let lag = self.ages.log.events_after(slowest);
        families.gauge("amoiq_webhook_lag_events", "Events that the slowest enabled endpoint is behind", lag);
        families.gauge(
            "amoiq_webhook_lag_seconds",
            "How old the first event is that the slowest enabled endpoint has not passed",
            self.ages.after(slowest).await,
        );
    }
}
