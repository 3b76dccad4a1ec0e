//! Sends spans to an OpenTelemetry collector: protobuf over HTTP, in batches, by a thread of its own.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says where, `http://localhost:4318` for one, and the other variables of the
//! standard hold; without it nothing is sent. A collector that is slow or away loses spans and never holds up
//! the service.

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// The standard's variables that say where spans go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Spans on their way; what is queued is sent when it is dropped.
pub(super) struct Exporting(SdkTracerProvider);

impl Exporting {
    /// Starts, when the environment says where to.
    ///
    /// # Errors
    /// When what it says is no address.
    pub(super) fn start() -> anyhow::Result<Option<Self>> {
        if ENDPOINTS.iter().all(|name| std::env::var_os(name).is_none()) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().build().context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
        Ok(Some(Self(provider.build())))
    }

    /// Takes spans from the log.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer().with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        // The service stops: a collector that is away is not waited for.
        drop(self.0.shutdown());
    }
}
