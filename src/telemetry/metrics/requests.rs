//! Counts HTTP requests by the route's pattern, the method and the status, and how long they took.
//!
//! A worker keeps the counters that it has used before: a request adds to three of them and takes no lock
//! that workers share. The time ends with the head of the answer. A poll waits until there is something to send,
//! so for `/socket.io/` it shows waiting, not work.

use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc, sync::Arc, time::Duration};

use actix_web::http::Method;
use amoiq_events::histogram::Histogram;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::Counter, family::Family},
    registry::Registry,
};

use super::families::encode_histogram;

/// Bounds of the times of requests, in microseconds.
const TIMES_US: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// The methods that have counters of their own. A client can send any other.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The route that requests without a matching route are counted under.
pub const NO_ROUTE: &str = "unmatched";

/// All requests of the service.
#[derive(Debug, Clone)]
pub struct RequestMeter {
    requests: Family<RequestLabels, Counter>,
    times: Family<DurationLabels, RequestDurations, fn() -> RequestDurations>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    route: String,
    method: &'static str,
}

impl RequestMeter {
    /// Registers the request metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let times: Family<_, _, fn() -> RequestDurations> =
            Family::new_with_constructor(RequestDurations::default);
        let meter = Self { requests: Family::default(), times };
        let requests = meter.requests.clone();
        registry.register("amoiq_http_requests", "HTTP requests that were answered", requests);
        registry.register(
            "amoiq_http_request_duration_seconds",
            "Time from a request's head to its answer's head",
            meter.times.clone(),
        );
        meter
    }

    /// The meter of one worker.
    #[must_use]
    pub fn worker(&self) -> WorkerMeter {
        WorkerMeter { all: self.clone(), used: Rc::default() }
    }
}

/// The counters that a worker has used.
#[derive(Debug, Clone)]
pub struct WorkerMeter {
    all: RequestMeter,
    used: Rc<RefCell<HashMap<Box<str>, Vec<UsedCounters>>>>,
}

/// The counters of a route's method and status.
#[derive(Debug)]
struct UsedCounters {
    method: &'static str,
    status: u16,
    requests: Counter,
    times: RequestDurations,
}

impl WorkerMeter {
    /// Counts a request that was answered.
    pub fn count(&self, route: &str, method: &Method, status: u16, time: Duration) {
        let method = METHODS.iter().find(|known| **known == method.as_str()).copied().unwrap_or("other");
        let is_same = |used: &&UsedCounters| used.status == status && used.method == method;
        let mut routes = self.used.borrow_mut();
        if let Some(used) = routes.get(route).and_then(|all| all.iter().find(is_same)) {
            return used.count(time);
        }
        let used = self.all.series(route, method, status);
        used.count(time);
        routes.entry(route.into()).or_default().push(used);
    }
}

impl RequestMeter {
    fn series(&self, route: &str, method: &'static str, status: u16) -> UsedCounters {
        let route = route.to_owned();
        let times = self.times.get_or_create(&DurationLabels { route: route.clone(), method }).clone();
        let requests = self.requests.get_or_create(&RequestLabels { route, method, status }).clone();
        UsedCounters { method, status, requests, times }
    }
}

impl UsedCounters {
    fn count(&self, time: Duration) {
        self.requests.inc();
        self.times.0.observe_time(time);
    }
}

/// Times, without the lock that the library's own histogram takes.
#[derive(Debug, Clone)]
struct RequestDurations(Arc<Histogram>);

impl Default for RequestDurations {
    fn default() -> Self {
        Self(Arc::new(Histogram::new(TIMES_US)))
    }
}

impl TypedMetric for RequestDurations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for RequestDurations {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encode_histogram(encoder, &self.0.counts(), 1e6)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_count_into_the_same_series_and_made_up_methods_are_one() {
        let mut registry = Registry::default();
        let meter = RequestMeter::register(&mut registry);
        let made_up = Method::from_bytes(b"WHATEVER").unwrap();
        for worker in [meter.worker(), meter.worker()] {
            worker.count("/a", &Method::GET, 200, Duration::from_millis(3));
            worker.count("/a", &made_up, 405, Duration::ZERO);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let has = |line: &str| assert!(text.contains(line), "{line} is not in\n{text}");
        has("amoiq_http_requests_total{route=\"/a\",method=\"GET\",status=\"200\"} 2\n");
        has("amoiq_http_requests_total{route=\"/a\",method=\"other\",status=\"405\"} 2\n");
        has("amoiq_http_request_duration_seconds_bucket{le=\"0.0025\",route=\"/a\",method=\"GET\"} 0\n");
        has("amoiq_http_request_duration_seconds_bucket{le=\"0.005\",route=\"/a\",method=\"GET\"} 2\n");
        has("amoiq_http_request_duration_seconds_sum{route=\"/a\",method=\"GET\"} 0.006\n");
    }
}
