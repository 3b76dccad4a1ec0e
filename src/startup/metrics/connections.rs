//! The numbers of TCP connections: how many there are, and which were refused or ended.

use super::super::listeners::ServiceListeners;
use crate::telemetry::metrics::{Collected, MetricCollector, MetricFamilies};

pub(super) struct ConnectionCollector(pub(super) ServiceListeners);

impl MetricCollector for ConnectionCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        let ServiceListeners { limiter, service, operator, .. } = &self.0;
        families.gauges(
            "amoiq_tcp_connections",
            "Open TCP connections",
            "listener",
            [("service", service.open()), ("operator", operator.open())],
        );
        families.gauges(
            "amoiq_tcp_connections_limit",
            "The most TCP connections that are accepted",
            "listener",
            [("service", service.max()), ("operator", operator.max())],
        );
        families.counters(
            "amoiq_tcp_connections_refused",
            "TCP connections that were refused when they were accepted",
            "reason",
            limiter.refused(),
        );
        families.counters(
            "amoiq_tcp_connections_ended",
            "TCP connections that the service ended although the client would have gone on",
            "reason",
            limiter.ended(),
        );
        Box::pin(async {})
    }
}
