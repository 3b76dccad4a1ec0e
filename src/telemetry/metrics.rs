//! What Prometheus scrapes from the operator interface (`GET /metrics`), as `OpenMetrics` or in the older text format
//! 0.0.4.
//!
//! Most numbers are counters that the parts of the service keep themselves. Each part registers a [`MetricCollector`],
//! which reads them at the scrape; only requests are counted here. Labels are names from the program (a route's pattern, a
//! reason), never a path, a tenant or an address: the number of series is bounded, and none of them identifies anybody.
//!
//! | module | holds |
//! |---|---|
//! | [`families`] | how numbers become metrics |
//! | [`format`](mod@format) | which of the two formats a scrape gets, and how the older one is made |
//! | [`requests`] | HTTP requests, which every worker counts for itself |
//! | [`process`] | processor time, memory and files of the process |

use std::{fmt, pin::Pin};

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    registry::Registry,
};

pub mod families;
pub mod format;
pub mod process;
pub mod requests;

pub use families::MetricFamilies;
pub use requests::{RequestMeter, WorkerMeter};

/// The end of a collection. It runs on the thread of the operator interface.
pub type Collected<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A part of the service that has numbers to show.
pub trait MetricCollector: Send + Sync {
    /// Reads its numbers.
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a>;
}

/// Everything that a scrape shows.
pub struct ServiceMetrics {
    registry: Registry,
    requests: RequestMeter,
    collectors: Vec<Box<dyn MetricCollector>>,
}

impl Default for ServiceMetrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = RequestMeter::register(&mut registry);
        Self { registry, requests, collectors: Vec::new() }
    }
}

impl ServiceMetrics {
    /// Adds a part of the service. Its metrics follow those of the parts before.
    #[must_use]
    pub fn with(mut self, collector: impl MetricCollector + 'static) -> Self {
        self.collectors.push(Box::new(collector));
        self
    }

    /// The meter of HTTP requests; each worker makes its own from it.
    #[must_use]
    pub fn requests(&self) -> RequestMeter {
        self.requests.clone()
    }

    /// The current numbers, as `OpenMetrics`.
    ///
    /// # Errors
    /// When a metric cannot be written, which is a defect.
    pub async fn scrape(&self) -> Result<String, fmt::Error> {
        let mut families = MetricFamilies::default();
        for collector in &self.collectors {
            collector.collect(&mut families).await;
        }
        process::collect(&mut families);
        let mut read = Registry::default();
        read.register_collector(Box::new(families));
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &read)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
