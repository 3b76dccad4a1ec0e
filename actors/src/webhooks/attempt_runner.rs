//! Makes single attempts for all lanes: waits for a permit, calls the endpoint with a time limit, counts the outcome.

use std::{sync::Arc, time::Duration};

use amoiq_events::{Ambient, TenantId, Timestamp};
use tokio::time::Instant;

use super::{
    delivery_counters::DeliveryCounters,
    fair_semaphore::{FairPermit, FairSemaphore},
    sender::{SendOutcome, WebhookEndpoint, WebhookPayload, WebhookSender},
    services::LaneSettings,
};

/// One tenant may use at most this fraction of the attempts that run at the same time.
const TENANT_FRACTION: usize = 8;

/// An attempt that has ended.
pub(super) struct FinishedAttempt {
    pub(super) outcome: SendOutcome,
    pub(super) started_at: Timestamp,
    pub(super) duration: Duration,
}

/// Makes attempts.
pub(super) struct AttemptRunner {
    sender: Arc<dyn WebhookSender>,
    ambient: Ambient,
    counters: Arc<DeliveryCounters>,
    timeout: Duration,
    /// Attempts of all lanes. The lane that has waited longest is next, and a lane waits for one permit at a time.
    /// Each tenant has its own share, so that slow endpoints of one tenant cannot use up all permits.
    in_flight: FairSemaphore<TenantId>,
}

impl AttemptRunner {
    pub(super) fn new(settings: &LaneSettings, sender: Arc<dyn WebhookSender>, ambient: Ambient) -> Self {
        // Enough for one healthy endpoint.
        let share = (settings.in_flight / TENANT_FRACTION).max(settings.throttle.in_flight);
        Self {
            sender,
            ambient,
            counters: Arc::default(),
            timeout: settings.attempt_timeout,
            in_flight: FairSemaphore::new(settings.in_flight, share),
        }
    }

    /// Waits for a permit for one attempt.
    pub(super) async fn acquire(&self, tenant: &TenantId) -> FairPermit {
        self.in_flight.acquire(tenant).await
    }

    /// A permit for one attempt, if one is free.
    pub(super) fn try_acquire(&self, tenant: &TenantId) -> Option<FairPermit> {
        self.in_flight.try_acquire(tenant)
    }

    /// Makes one attempt and holds the permit until it has ended.
    pub(super) async fn run(
        &self,
        endpoint: Arc<WebhookEndpoint>,
        payload: WebhookPayload,
        _permit: FairPermit,
    ) -> FinishedAttempt {
        let (started_at, started) = (self.ambient.now(), Instant::now());
        let sending = self.sender.send(endpoint, payload);
        let outcome = match tokio::time::timeout(self.timeout, sending).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => SendOutcome { error: Some(self.timeout_text()), ..SendOutcome::default() },
        };
        let finished = FinishedAttempt { outcome, started_at, duration: started.elapsed() };
        self.counters.record_attempt(finished.outcome.is_success(), finished.duration);
        finished
    }

    /// What all lanes count.
    pub(super) fn counters(&self) -> &DeliveryCounters {
        &self.counters
    }

    fn timeout_text(&self) -> String {
        format!("no answer within {} ms", self.timeout.as_millis())
    }
}
