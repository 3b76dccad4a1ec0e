//! Sends spans to an OpenTelemetry collector: protobuf over HTTP, in batches, by a thread of its own.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says where, `http://localhost:4318` for one; without it nothing is sent. Of the
//! standard's other variables those that this program cannot do are refused at the start ([`variables`]). A collector
//! that is slow or away loses spans, which are counted ([`bounded_queue`]), and holds up neither a request nor, beyond
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

/// How long the last spans may take when the service stops: a collector that is well takes them in a few
/// milliseconds, and one that hangs is not waited for.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// Spans on their way; what is queued is sent when it is dropped.
pub(super) struct TraceExport {
    provider: SdkTracerProvider,
    counts: SpanCounts,
}

impl TraceExport {
    /// Starts, when the environment says where to.
    ///
    /// # Errors
    /// When what it says is no address, or asks for what this program does not do.
    pub(super) fn start() -> anyhow::Result<Option<Self>> {
        let Some(variables) = ExporterVariables::read(|name| std::env::var(name).ok())? else {
            return Ok(None);
        };
        // The exporter's HTTP client does not know whose cryptography to use; an error says that it was told.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().build().context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let counts = SpanCounts::default();
        let batches = BatchSpanProcessor::builder(CountedExporter::new(exporter, counts.clone())).build();
        let processor = BoundedSpanQueue::new(batches, variables.queue_spans, counts.clone());
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource);
        Ok(Some(Self { provider: provider.build(), counts }))
    }

    /// What became of the spans.
    pub(super) fn counts(&self) -> SpanCounts {
        self.counts.clone()
    }

    /// Takes spans from the log.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")))
    }
}

impl Drop for TraceExport {
    fn drop(&mut self) {
        // The service stops: nobody is left to be told that spans were lost.
        drop(self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
    }
}
