//! Makes single attempts for all lanes: waits for a permit, calls the endpoint with a time limit, counts the outcome.

use std::{sync::Arc, time::Duration};

use amoiq_events::{Ambient, TenantId, Timestamp};
use tokio::time::Instant;

use super::{
    delivery_counters::DeliveryCounters,
    fair_semaphore::{FairPermit, FairSemaphore},
    sender::{DeliveryOutcome, WebhookEndpoint, WebhookPayload, WebhookSender},
};

/// The limits of attempts.
pub(super) struct AttemptLimits {
    /// Attempts at the same time, to all endpoints together.
    pub(super) in_flight: usize,
    /// Those of one tenant.
    pub(super) in_flight_per_tenant: usize,
    /// How long an attempt may take.
    pub(super) timeout: Duration,
}

/// An attempt that has ended.
pub(super) struct FinishedAttempt {
    pub(super) outcome: DeliveryOutcome,
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
    pub(super) fn new(limits: &AttemptLimits, sender: Arc<dyn WebhookSender>, ambient: Ambient) -> Self {
        Self {
            sender,
            ambient,
            counters: Arc::default(),
            timeout: limits.timeout,
            in_flight: FairSemaphore::new(limits.in_flight, limits.in_flight_per_tenant),
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
            Err(_elapsed) => {
                DeliveryOutcome { error: Some(self.timeout_text()), ..DeliveryOutcome::default() }
            }
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
