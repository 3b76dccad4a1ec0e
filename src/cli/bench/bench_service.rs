//! The parts of the service that are measured: the store, the sessions and the inbox.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use amoiq_actors::{
    inbox::InboxProjection,
    projections::{ProjectionProgress, Projector, RebuildHandle, RebuildOutcome, ViewStore},
    sessions::{DirectorySettings, ProvenUsers, SessionDirectory, SessionSettings},
    store_files::store_files,
};
use amoiq_events::{
    Ambient, EventLog, EventStore, Position,
    store::{OpenedStore as _, sqlite::SqliteStore},
};
use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::{result::BenchResult, visitors::BenchVisitor};
use crate::{config::Config, startup};

/// The most messages in all rounds together, about 700 MB.
const MAX_MESSAGES: u64 = 1_000_000;

/// The most sessions in memory: more than write at the same time.
const MAX_SESSIONS: usize = 4_096;

/// The limit of events in a session, which no session reaches.
const MAX_EVENTS: u64 = 100;

/// How long the inbox may take to catch up, or to be rebuilt.
const TIMEOUT: Duration = Duration::from_mins(2);

/// How often the rebuild is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The running parts.
pub(super) struct BenchService {
    store: Arc<SqliteStore>,
    directory: SessionDirectory,
    inbox: ProjectionProgress,
    rebuilds: RebuildHandle,
    ambient: Ambient,
    /// How many messages may still be written.
    left: Arc<AtomicU64>,
}

impl BenchService {
    /// Starts with an empty store, as the service would.
    pub(super) fn begin(place: &Path, config: &Config) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let store = Arc::new(SqliteStore::open(&place.join("data"), &ambient)?);
        let shared: Arc<dyn EventStore> = Arc::clone(&store) as _;
        let directory = SessionDirectory::new(settings(config), &shared, &ambient, &ProvenUsers::default());
        directory.run_all();
        let views = ViewStore::open(&place.join("data/views.db"))?;
        let (inbox, rebuilds) = Projector::<InboxProjection>::start_with_rebuilds(&views, &(shared as _));
        let left = Arc::new(AtomicU64::new(MAX_MESSAGES));
        Ok(Self { store, directory, inbox, rebuilds, ambient, left })
    }

    /// Lets this many visitors write at the same time. Returns the result and how many events were synced together.
    pub(super) async fn messages(
        &self,
        at_once: u16,
        time: Duration,
    ) -> anyhow::Result<(BenchResult, usize)> {
        let meter = self.store.meter();
        let commits = || meter.commit_events.counts().buckets.iter().map(|(_, count)| count).sum::<u64>();
        let (events_before, commits_before) = (meter.events(), commits());
        let begun = Instant::now();
        let mut visitors = JoinSet::new();
        for number in 0..at_once {
            let (directory, ambient) = (self.directory.clone(), self.ambient.clone());
            let name = format!("bench-{at_once}-{number}");
            let visitor =
                BenchVisitor { directory, ambient, name, end: begun + time, left: Arc::clone(&self.left) };
            visitors.spawn(visitor.write());
        }
        let mut latencies_us = Vec::new();
        while let Some(written) = visitors.join_next().await {
            latencies_us.extend(written??);
        }
        let time = begun.elapsed();
        latencies_us.sort_unstable();
        let (events, commits) = (meter.events() - events_before, commits() - commits_before);
        // The next measurement must not share the machine with the inbox.
        self.inbox.reach(self.store.head(), TIMEOUT).await?;
        let sessions = if at_once == 1 { "session" } else { "sessions" };
        let figure = BenchResult {
            part: "messages",
            name: format!("messages, {at_once} {sessions} at a time"),
            count: latencies_us.len() as u64,
            events,
            time,
            latencies_us,
            of_disk: None,
        };
        Ok((figure, usize::try_from(events / commits.max(1))?.max(1)))
    }

    /// Rebuilds the inbox from everything that was written.
    pub(super) async fn rebuild(&self) -> anyhow::Result<BenchResult> {
        let begun = Instant::now();
        self.rebuilds.start(None).await?;
        let outcome = async {
            loop {
                match self.rebuilds.report().outcome {
                    Some(outcome) => break outcome,
                    None => tokio::time::sleep(POLL_INTERVAL).await,
                }
            }
        };
        let outcome = tokio::time::timeout(TIMEOUT, outcome).await.context("the rebuild does not finish")?;
        ensure!(outcome == RebuildOutcome::Done, "the inbox was not rebuilt: {outcome:?}");
        let events = self.store.events_after(Position::START);
        Ok(read("rebuild", "rebuild of the inbox, events", events, begun.elapsed()))
    }

    /// Verifies everything that was written.
    pub(super) async fn verify(&self, place: &Path) -> anyhow::Result<BenchResult> {
        let data = place.join("data");
        let begun = Instant::now();
        let verifying = move || store_files(&data).verify(Position::START, &mut |_work| {});
        let verification = tokio::task::spawn_blocking(verifying).await??;
        ensure!(verification.clean, "what was written is damaged: {:?}", verification.problems);
        Ok(read("verify", "verification, events", verification.events, begun.elapsed()))
    }

    /// Closes the store, so that its files can be removed.
    pub(super) fn end(self) {
        self.store.close();
    }
}

/// The configured settings of sessions, except for limits that would decide the result.
fn settings(config: &Config) -> DirectorySettings {
    DirectorySettings {
        max_sessions: MAX_SESSIONS,
        max_memory_bytes: usize::MAX,
        session: SessionSettings { max_events: MAX_EVENTS },
        ..startup::directory_settings(config)
    }
}

/// The result of reading events, which are timed together.
fn read(part: &'static str, name: &str, events: u64, time: Duration) -> BenchResult {
    let (name, latencies_us) = (name.to_owned(), Vec::new());
    BenchResult { part, name, count: events, events, time, latencies_us, of_disk: None }
}
