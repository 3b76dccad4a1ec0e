//! The metrics of the service: where each part keeps its numbers.

mod chat;
mod cluster;
mod connections;
mod log;
mod webhooks;

use std::sync::Arc;

use amoiq_actors::webhooks::WebhooksHandle;
use amoiq_events::{Ambient, EventLog, Position};

use self::{
    chat::{LimitCollector, SessionCollector, SocketCollector},
    cluster::ClusterCollector,
    connections::ConnectionCollector,
    log::{LogCollector, ProjectionCollector},
    webhooks::WebhookCollector,
};
use super::{
    app_services::AppServices, core_services::CoreServices, listeners::ServiceListeners,
    sockets::SocketServer,
};
use crate::telemetry::{
    logging::TelemetryLosses,
    metrics::{Collected, MetricCollector, MetricFamilies, ServiceMetrics},
};

/// Registers what the service itself keeps.
pub(super) fn metrics(
    core: &CoreServices,
    services: &AppServices,
    sockets: &SocketServer,
    webhooks: WebhooksHandle,
) -> ServiceMetrics {
    let ages = EventAges { log: Arc::clone(&core.log), ambient: core.ambient.clone() };
    ServiceMetrics::default()
        .with(BuildCollector)
        .with(LogCollector::new(core))
        .with(ProjectionCollector::new(services, ages.clone()))
        .with(SessionCollector::new(core, services, sockets))
        .with(SocketCollector::new(sockets))
        .with(LimitCollector::new(services))
        .with(ClusterCollector(Arc::clone(&core.node.leases)))
        .with(WebhookCollector { webhooks, ages })
}

/// The TCP connections.
pub(super) fn connections(listeners: &ServiceListeners) -> impl MetricCollector + use<> {
    ConnectionCollector(listeners.clone())
}

/// What was lost on its way to whoever reads logs and traces.
pub(super) fn losses(losses: TelemetryLosses) -> impl MetricCollector {
    LossCollector(losses)
}

struct BuildCollector;

impl MetricCollector for BuildCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        let version = [(env!("CARGO_PKG_VERSION"), 1.0)];
        families.gauges("amoiq_build_info", "The release that runs", "version", version);
        Box::pin(async {})
    }
}

struct LossCollector(TelemetryLosses);

impl MetricCollector for LossCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        let lost = self.0.lines();
        families.counter(
            "amoiq_log_lines_lost",
            "Log lines that found the queue to standard output full",
            lost,
        );
        if let Some(spans) = self.0.spans() {
            families.counters("amoiq_spans", "Spans for the collector", "outcome", spans);
        }
        Box::pin(async {})
    }
}

/// How old the events are that a reader has not reached yet.
#[derive(Clone)]
struct EventAges {
    log: Arc<dyn EventLog>,
    ambient: Ambient,
}

impl EventAges {
    /// The age of the first event after a position, in seconds. The event at the position itself says nothing: it may be
    /// old because nothing has happened since.
    async fn after(&self, position: Position) -> f64 {
        if position >= self.log.head() {
            return 0.0;
        }
        match self.log.read_all(position, 1).await.as_deref() {
            Ok([next, ..]) => {
                let millis = self.ambient.now().as_millis().saturating_sub(next.event.time.as_millis());
                f64::from(i32::try_from(millis.max(0)).unwrap_or(i32::MAX)) / 1_000.0
            }
            // The event was removed in the meantime, or the store cannot be read, which other metrics show.
            Ok([]) | Err(_) => 0.0,
        }
    }
}
