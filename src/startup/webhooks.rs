//! Webhook delivery: its lanes on their own thread, and what the management API needs.

use std::{sync::Arc, time::Duration};

use super::{
    app_services::AppServices,
    core_services::{CoreServices, cluster::NodeServices},
};
use crate::{
    access::tenants::TenantService,
    config,
    http::webhooks::{WebhookRegistrar, test::WebhookTests},
    operator::OperatorServices,
    webhooks::{DestinationPolicy, HttpSender},
};
use actix::Arbiter;
use actix_web::web;
use amoiq_actors::webhooks::{
    LaneSettings, RetrySchedule, ThrottleSettings, WebhookServices, WebhooksHandle,
    delivery_store::reaper::{DeliveryReaper, DeliveryRetention},
};

/// Test deliveries take at most one in this many of the permits for attempts.
const TESTS_SHARE: usize = 16;

/// Webhook delivery and its management.
#[derive(Clone)]
pub(super) struct WebhookServer {
    lanes: web::Data<WebhooksHandle>,
    registrar: web::Data<WebhookRegistrar>,
    tests: web::Data<WebhookTests>,
}

impl WebhookServer {
    /// Starts the lanes.
    pub(super) fn start(core: &CoreServices) -> anyhow::Result<Self> {
        let CoreServices { config, log, ambient, registry, .. } = core;
        let NodeServices { leases, deliveries, .. } = &core.node;
        let webhooks = &config.webhooks;
        let settings = lane_settings(webhooks);
        let destinations = DestinationPolicy::new(&webhooks.allowed_networks);
        let sender = Arc::new(HttpSender::new(destinations.clone(), ambient.clone())?);
        let thread = Arbiter::new().handle();
        let (kept, reaper_ambient, retention) = (deliveries.clone(), ambient.clone(), retention(webhooks));
        let reaper_leases = Arc::clone(leases);
        thread.spawn_fn(move || DeliveryReaper::start(kept, reaper_leases, reaper_ambient, retention));
        let services = WebhookServices {
            log: Arc::clone(log),
            ambient: ambient.clone(),
            registry: Arc::clone(registry),
            deliveries: deliveries.clone(),
            leases: Arc::clone(leases),
            sender,
        };
        let lanes = WebhooksHandle::start(settings, services, &thread);
        let registrar = WebhookRegistrar {
            tenants: TenantService {
                store: Arc::clone(log),
                ambient: ambient.clone(),
                registry: Arc::clone(registry),
            },
            destinations,
            limit: webhooks.endpoints_per_tenant,
            previous_secret_hours: webhooks.previous_secret_hours,
        };
        let tests = WebhookTests::new((webhooks.in_flight / TESTS_SHARE).max(1));
        Ok(Self {
            lanes: web::Data::new(lanes),
            registrar: web::Data::new(registrar),
            tests: web::Data::new(tests),
        })
    }

    /// The lanes, for metrics and erasure.
    pub(super) fn lanes(&self) -> WebhooksHandle {
        WebhooksHandle::clone(&self.lanes)
    }

    /// What the routes of the operator interface work with.
    pub(super) fn operator_services(&self, core: &CoreServices, services: &AppServices) -> OperatorServices {
        OperatorServices {
            tenants: self.registrar.tenants.clone(),
            registrar: self.registrar.clone(),
            webhooks: self.lanes(),
            rebuilds: services.rebuilds.clone(),
            inbox: (**services.inbox).clone(),
            notes: services.intake.notes.clone(),
            leases: Arc::clone(&core.node.leases),
        }
    }

    /// Gives the routes what they need.
    pub(super) fn provide(&self, routes: &mut web::ServiceConfig) {
        routes.app_data(self.lanes.clone()).app_data(self.registrar.clone()).app_data(self.tests.clone());
    }

    /// Lets the attempts in flight end. Those that do not are repeated after the next start.
    pub(super) async fn drain(&self, timeout: Duration) {
        self.lanes.drain(timeout).await;
    }
}

fn lane_settings(webhooks: &config::WebhooksConfig) -> LaneSettings {
    let waits = webhooks.schedule_ms.iter().map(|&wait_ms| Duration::from_millis(wait_ms)).collect();
    LaneSettings {
        schedule: RetrySchedule { waits, jitter_percent: webhooks.jitter_percent },
        throttle: ThrottleSettings {
            in_flight: webhooks.in_flight_per_endpoint,
            breaker_failures: webhooks.breaker_failures,
            breaker_min: Duration::from_millis(webhooks.breaker_min_ms),
            breaker_max: Duration::from_millis(webhooks.breaker_max_ms),
        },
        attempt_timeout: Duration::from_millis(webhooks.attempt_timeout_ms),
        in_flight: webhooks.in_flight,
        pending: webhooks.pending_per_endpoint,
        refused_hold: Duration::from_secs(webhooks.refused_hold_seconds.into()),
        disable_after: match webhooks.disable_after_hours {
            // Never.
            0 => Duration::MAX,
            limit => hours(limit.into()),
        },
    }
}

fn retention(webhooks: &config::WebhooksConfig) -> DeliveryRetention {
    let keep_for = hours(24 * u64::from(webhooks.keep_attempts_days));
    DeliveryRetention { keep_for, keep: webhooks.keep_deliveries }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}
