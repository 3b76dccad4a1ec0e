//! Sends spans to an OpenTelemetry collector: protobuf over HTTP, in batches, by a thread of its own.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says where, `http://localhost:4318` for one, and the other variables of the
//! standard hold; without it nothing is sent. A collector that is slow or away loses spans and never holds up
//! the service.

use std::time::Duration;

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// The standard's variables that say where spans go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// How long the last spans may take when the service stops: a collector that is well takes them in a few
/// milliseconds, and one that hangs is not waited for.
const LAST_PATIENCE: Duration = Duration::from_millis(300);

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
        // The exporter's HTTP client does not know whose cryptography to use; an error says that it was told.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
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
        // The service stops: nobody is left to be told that spans were lost.
        drop(self.0.shutdown_with_timeout(LAST_PATIENCE));
    }
}
