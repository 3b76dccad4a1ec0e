//! What every lane works with: the log, the delivery store, the runner of attempts, and their settings.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    Ambient, EventLog, cluster::ClusterLeases, event::EventCause, tenant::TenantCommand,
    webhook::WebhookCommand,
};

use super::{
    attempt_runner::{AttemptLimits, AttemptRunner},
    delivery_counters::DeliveryCounters,
    delivery_store::DeliveryStore,
    message_reader::MessageReader,
    pacing::{
        clock_reading::ClockReading, endpoint_throttle::ThrottleSettings, retry_schedule::RetrySchedule,
    },
    sender::{WebhookEndpoint, WebhookSender},
};
use crate::tenants::{TenantError, TenantHandle, TenantRegistry};

/// One tenant may use at most this fraction of the attempts that run at the same time.
const TENANT_FRACTION: usize = 8;

/// How lanes work.
#[derive(Debug, Clone)]
pub struct LaneSettings {
    /// When a delivery is tried again.
    pub schedule: RetrySchedule,
    /// The limits of one endpoint.
    pub throttle: ThrottleSettings,
    /// How long an attempt may take, from connecting to the end of the answer.
    pub attempt_timeout: Duration,
    /// Attempts at the same time, to all endpoints together.
    pub in_flight: usize,
    /// Deliveries of one endpoint that may wait. At the limit its lane stops reading the log.
    pub pending: usize,
    /// How long a message that the endpoint refuses may hold back its session while the endpoint takes others.
    pub refused_hold: Duration,
    /// An endpoint is disabled after every attempt has failed for this long.
    pub disable_after: Duration,
}

/// What webhook delivery needs from the rest of the service.
#[derive(Clone)]
pub struct WebhookServices {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Time, ids and randomness.
    pub ambient: Ambient,
    /// The tenants and their endpoints.
    pub registry: Arc<TenantRegistry>,
    /// The database of deliveries. It has to have [adopted](DeliveryStore::adopt) the log.
    pub deliveries: DeliveryStore,
    /// Says which lanes are this node's.
    pub leases: Arc<dyn ClusterLeases>,
    /// Makes the calls.
    pub sender: Arc<dyn WebhookSender>,
}

/// What lanes share.
pub(super) struct LaneServices {
    pub(super) settings: Arc<LaneSettings>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) ambient: Ambient,
    pub(super) registry: Arc<TenantRegistry>,
    pub(super) deliveries: DeliveryStore,
    pub(super) leases: Arc<dyn ClusterLeases>,
    pub(super) attempts: AttemptRunner,
    pub(super) messages: MessageReader,
}

impl LaneServices {
    pub(super) fn new(settings: LaneSettings, services: WebhookServices) -> Self {
        let WebhookServices { log, ambient, registry, deliveries, leases, sender } = services;
        let limits = AttemptLimits {
            in_flight: settings.in_flight,
            // Enough for one healthy endpoint.
            in_flight_per_tenant: (settings.in_flight / TENANT_FRACTION).max(settings.throttle.in_flight),
            timeout: settings.attempt_timeout,
        };
        let attempts = AttemptRunner::new(&limits, sender, ambient.clone());
        let messages = MessageReader::new(Arc::clone(&log));
        Self { settings: Arc::new(settings), log, ambient, registry, deliveries, leases, attempts, messages }
    }

    /// Disables an endpoint by an event of its tenant.
    pub(super) async fn disable(
        &self,
        endpoint: &WebhookEndpoint,
        reason: String,
    ) -> Result<(), TenantError> {
        let (log, registry) = (Arc::clone(&self.log), Arc::clone(&self.registry));
        let tenant = TenantHandle::start(endpoint.tenant.clone(), log, self.ambient.clone(), registry);
        let cause = EventCause { causation: "delivery".into(), actor: "service:webhooks".into() };
        let command = WebhookCommand::Disable { reason };
        tenant.execute(TenantCommand::Webhook(endpoint.id.clone(), command), cause).await?;
        Ok(())
    }

    /// What all lanes count.
    pub(super) fn counters(&self) -> &DeliveryCounters {
        self.attempts.counters()
    }

    /// The current time by both clocks.
    pub(super) fn now(&self) -> ClockReading {
        ClockReading::now(&self.ambient)
    }

    /// A number that nobody can predict, for the jitter.
    pub(super) fn random(&self) -> u64 {
        u64::from_le_bytes(self.ambient.bytes())
    }
}
