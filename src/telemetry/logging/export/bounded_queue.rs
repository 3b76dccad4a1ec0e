//! Counts what becomes of spans. The library does not reveal how many spans found its queue full, so the bound of the queue
//! is enforced here, before it: the spans that wait are those that have ended and were not passed to the exporter yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

/// How many spans had which outcome.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpanCounts(Arc<SpanCounters>);

#[derive(Debug, Default)]
struct SpanCounters {
    queued: AtomicU64,
    handed: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// Each outcome, and how many spans had it.
    #[must_use]
    pub(crate) fn outcomes(&self) -> [(&'static str, u64); 3] {
        let SpanCounters { exported, failed, dropped, .. } = &*self.0;
        [
            ("exported", exported.load(Relaxed)),
            ("failed", failed.load(Relaxed)),
            ("dropped", dropped.load(Relaxed)),
        ]
    }

    /// Takes a place in the queue if one is free.
    fn enters(&self, limit: u64) -> bool {
        let SpanCounters { queued, handed, dropped, .. } = &*self.0;
        let enter = |all: u64| (all.saturating_sub(handed.load(Relaxed)) < limit).then_some(all + 1);
        let is_in = queued.fetch_update(Relaxed, Relaxed, enter).is_ok();
        dropped.fetch_add(u64::from(!is_in), Relaxed);
        is_in
    }
}

/// A bounded queue of spans.
#[derive(Debug)]
pub(super) struct BoundedSpanQueue<P> {
    queue: P,
    limit: u64,
    counts: SpanCounts,
}

impl<P> BoundedSpanQueue<P> {
    pub(super) fn new(queue: P, limit: u64, counts: SpanCounts) -> Self {
        Self { queue, limit, counts }
    }
}

impl<P: SpanProcessor> SpanProcessor for BoundedSpanQueue<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.counts.enters(self.limit) {
            self.queue.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// Exports batches from the queue and counts them.
#[derive(Debug)]
pub(super) struct CountedExporter<E> {
    exporter: E,
    counts: SpanCounts,
}

impl<E> CountedExporter<E> {
    pub(super) fn new(exporter: E, counts: SpanCounts) -> Self {
        Self { exporter, counts }
    }
}

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.counts.0.handed.fetch_add(spans, Relaxed);
        let exported = self.exporter.export(batch).await;
        let counter = if exported.is_ok() { &self.counts.0.exported } else { &self.counts.0.failed };
        counter.fetch_add(spans, Relaxed);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let counts = SpanCounts::default();
        let entered = (0..5).filter(|_| counts.enters(3)).count();
        assert_eq!((entered, counts.outcomes()[2]), (3, ("dropped", 2)));
        counts.0.handed.fetch_add(2, Relaxed);
        assert_eq!((0..5).filter(|_| counts.enters(3)).count(), 2);
    }
}
