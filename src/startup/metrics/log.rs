//! The numbers of the log and of the projections that follow it.

use std::{path::PathBuf, sync::Arc};

use amoiq_actors::{presence::OnlineUsers, projections::ProjectionProgress};
use amoiq_events::store::{OpenedStore, StoreHealth};

use super::{
    super::{app_services::AppServices, core_services::CoreServices},
    EventAges,
};
use crate::telemetry::{
    last_backup,
    metrics::{Collected, MetricCollector, MetricFamilies},
};

/// The files of the data directory that grow.
const FILES: [&str; 6] = ["log.db", "log.db-wal", "views.db", "views.db-wal", "outbox.db", "outbox.db-wal"];

pub(super) struct LogCollector {
    store: Arc<dyn OpenedStore>,
    data_directory: PathBuf,
}

impl LogCollector {
    pub(super) fn new(core: &CoreServices) -> Self {
        Self { store: Arc::clone(&core.opened), data_directory: core.data_directory().to_owned() }
    }

    fn appends(&self, families: &mut MetricFamilies) {
        let meter = self.store.meter();
        families.counter("amoiq_store_appends", "Appends that are durable", meter.appends());
        families.counter("amoiq_store_events", "Events that are durable", meter.events());
        families.counters("amoiq_store_append_errors", "Appends that failed", "kind", meter.errors());
        families.histogram(
            "amoiq_store_commit_duration_seconds",
            "How long commits take, with their sync",
            meter.commit_times.counts(),
            1e6,
        );
        families.histogram(
            "amoiq_store_commit_events",
            "Events that were committed together",
            meter.commit_events.counts(),
            1.0,
        );
        families.gauge(
            "amoiq_store_head_position",
            "Position of the newest durable event",
            self.store.head().as_u64(),
        );
        let is_writable = !matches!(self.store.health(), StoreHealth::Failing(_));
        families.gauge("amoiq_store_writable", "1 while the store takes writes", is_writable);
    }

    fn files(&self, families: &mut MetricFamilies) {
        let size = |file: &'static str| {
            std::fs::metadata(self.data_directory.join(file)).ok().map(|metadata| (file, metadata.len()))
        };
        let sizes: Vec<_> = FILES.into_iter().filter_map(size).collect();
        families.gauges("amoiq_store_file_size_bytes", "Sizes of the data directory's files", "file", sizes);
        let backup_seconds = last_backup::read(&self.data_directory).map_or(0, |at| at.as_millis() / 1_000);
        families.gauge(
            "amoiq_last_backup_timestamp_seconds",
            "When `amoiq backup` made the last backup, in seconds since 1970; 0 when none is known",
            u64::try_from(backup_seconds).unwrap_or_default(),
        );
    }
}

impl MetricCollector for LogCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        self.appends(families);
        self.files(families);
        Box::pin(async {})
    }
}

pub(super) struct ProjectionCollector {
    inbox: ProjectionProgress,
    online: OnlineUsers,
    ages: EventAges,
}

impl ProjectionCollector {
    pub(super) fn new(services: &AppServices, ages: EventAges) -> Self {
        Self { inbox: services.inbox.progress().clone(), online: services.online.users.clone(), ages }
    }
}

impl MetricCollector for ProjectionCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        Box::pin(async {
            let (mut positions, mut events, mut seconds, mut failing) = (vec![], vec![], vec![], vec![]);
            for (name, progress) in [("inbox", &self.inbox), ("online", self.online.progress())] {
                let position = progress.position();
                positions.push((name, position.as_u64()));
                events.push((name, self.ages.log.events_after(position)));
                seconds.push((name, self.ages.after(position).await));
                failing.push((name, progress.failure().is_some()));
            }
            let label = "projection";
            families.gauges(
                "amoiq_projection_position",
                "Everything up to here is folded in",
                label,
                positions,
            );
            families.gauges("amoiq_projection_lag_events", "Events that are not folded in", label, events);
            families.gauges(
                "amoiq_projection_lag_seconds",
                "How old the first event is that is not folded in",
                label,
                seconds,
            );
            families.gauges("amoiq_projection_failing", "1 while it does not follow the log", label, failing);
        })
    }
}
