//! Sends spans to an OpenTelemetry collector: protobuf over HTTP, in batches, from a separate thread.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is the address, such as `http://localhost:4318`; without it nothing is sent. Other standard
//! variables that this program does not support are refused at the start ([`variables`]). If the collector is slow or
//! unreachable, spans are lost and counted ([`bounded_queue`]). It holds up no request and, beyond
//! [`FLUSH_TIMEOUT`], the stop.

use std::time::Duration;

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SdkTracerProvider},
};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use self::{
    bounded_queue::{BoundedSpanQueue, CountedExporter},
    variables::ExporterVariables,
};

mod bounded_queue;
mod variables;

pub(super) use bounded_queue::SpanCounts;

/// How long the last spans may take when the service stops. A working collector takes them within a few milliseconds, and
/// one that hangs is not waited for.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// The export of spans. Dropping it sends the queued spans.
pub(super) struct TraceExport {
    provider: SdkTracerProvider,
    counts: SpanCounts,
}

impl TraceExport {
    /// Starts the export if the environment names an address.
    ///
    /// # Errors
    /// When the address is invalid, or a variable asks for something that this program does not support.
    pub(super) fn start() -> anyhow::Result<Option<Self>> {
        let Some(variables) = ExporterVariables::read(|name| std::env::var(name).ok())? else {
            return Ok(None);
        };
        // The HTTP client of the exporter needs a cryptography provider. An error means that there is one already.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().build().context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let counts = SpanCounts::default();
        let batches = BatchSpanProcessor::builder(CountedExporter::new(exporter, counts.clone())).build();
        let processor = BoundedSpanQueue::new(batches, variables.queue_spans, counts.clone());
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource);
        Ok(Some(Self { provider: provider.build(), counts }))
    }

    /// The counters of spans.
    pub(super) fn counts(&self) -> SpanCounts {
        self.counts.clone()
    }

    /// The layer that passes spans from the log to the collector.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")))
    }
}

impl Drop for TraceExport {
    fn drop(&mut self) {
        // The service stops: nobody could read that spans were lost.
        drop(self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
    }
}
