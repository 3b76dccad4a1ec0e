//! What Prometheus scrapes from the operator's interface (`GET /metrics`), as `OpenMetrics` or in the
//! text format 0.0.4 that came before it.
//!
//! Most numbers are counters that the parts of the service keep for themselves, read at the scrape; only
//! requests are counted here. Labels are names of the program's own (a route's pattern, a reason): never a
//! path, a tenant or an address, so there are only so many series, and none of them tells of anybody.
//!
//! | file | reads |
//! |---|---|
//! | [`format`](mod@format) | which of the two a scrape gets, and the older one |
//! | [`requests`] | HTTP requests: counted by every worker for itself |
//! | [`service`] | store, projections, actors, sockets, limits |
//! | `connections` | TCP connections |
//! | `deliveries` | webhooks |
//! | [`process`] | processor time, memory and files of the process |
//! | [`sheet`] | how numbers become metrics |

use std::fmt;

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    registry::Registry,
};

mod connections;
mod deliveries;
pub mod format;
pub mod process;
pub mod requests;
pub mod service;
pub mod sheet;

pub use requests::{RequestMeter, WorkerMeter};
pub use service::Sources;
use sheet::Sheet;

use crate::startup::Listeners;

/// Everything that a scrape shows.
pub struct Metrics {
    registry: Registry,
    requests: RequestMeter,
    sources: Sources,
    listeners: Listeners,
}

impl Metrics {
    /// Over the parts of a service.
    #[must_use]
    pub fn new(sources: Sources, listeners: Listeners) -> Self {
        let mut registry = Registry::default();
        let requests = RequestMeter::register(&mut registry);
        Self { registry, requests, sources, listeners }
    }

    /// Counts requests; each worker has one of its own made from it.
    #[must_use]
    pub fn requests(&self) -> RequestMeter {
        self.requests.clone()
    }

    /// The numbers now, as `OpenMetrics`.
    ///
    /// # Errors
    /// When a metric cannot be written: a defect.
    pub async fn scrape(&self) -> Result<String, fmt::Error> {
        let mut sheet = Sheet::default();
        self.sources.fill(&mut sheet).await;
        connections::fill(&self.listeners, &mut sheet);
        process::fill(&mut sheet);
        let mut read = Registry::default();
        read.register_collector(Box::new(sheet));
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &read)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
