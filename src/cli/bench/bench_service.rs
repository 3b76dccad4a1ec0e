//! The parts of the service that are measured: the store, the sessions, the inbox.

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
use amoiq_events::{Ambient, EventLog, EventStore, Position, store::sqlite::SqliteStore};
use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::{result::BenchResult, visitors::BenchVisitor};
use crate::{config::Config, startup};

/// The most messages of all rounds: about 700 MB.
const MAX_MESSAGES: u64 = 1_000_000;

/// The most sessions in memory: more than write at a time.
const MAX_SESSIONS: usize = 4_096;

/// More events than a session gets.
const MAX_EVENTS: u64 = 100;

/// How long the inbox may take to follow, or to be made again.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often it is looked whether the rebuild is done.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What runs.
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
    /// Begins with nothing, as the service would there.
    pub(super) fn begin(place: &Path, config: &Config) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let store = Arc::new(SqliteStore::open(&place.join("data"), &ambient)?);
        let log: Arc<dyn EventStore> = Arc::clone(&store) as _;
        let directory = SessionDirectory::start(settings(config), &log, &ambient, &ProvenUsers::default());
        let views = ViewStore::open(&place.join("data/views.db"))?;
        let (inbox, rebuilds) = Projector::<InboxProjection>::start_with_rebuilds(&views, &log);
        let left = Arc::new(AtomicU64::new(MAX_MESSAGES));
        Ok(Self { store, directory, inbox, rebuilds, ambient, left })
    }

    /// Lets as many visitors write at once, and tells how many events were synced together.
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
        // What is measured next is alone.
        self.inbox.reach(self.store.head(), PATIENCE).await?;
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

    /// Has the inbox made again from all that was written.
    pub(super) async fn rebuild(&self) -> anyhow::Result<BenchResult> {
        let begun = Instant::now();
        self.rebuilds.start(None).await?;
        let outcome = async {
            loop {
                match self.rebuilds.report().outcome {
                    Some(outcome) => break outcome,
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, outcome).await.context("the rebuild does not end")?;
        ensure!(outcome == RebuildOutcome::Done, "the inbox was not made again: {outcome:?}");
        let events = self.store.events_after(Position::START);
        Ok(read("rebuild", "rebuild of the inbox, events", events, begun.elapsed()))
    }

    /// Has all that was written verified.
    pub(super) async fn verify(&self, place: &Path) -> anyhow::Result<BenchResult> {
        let data = place.join("data");
        let begun = Instant::now();
        let verifying = move || store_files(&data).verify(Position::START, &mut |_work| {});
        let verification = tokio::task::spawn_blocking(verifying).await??;
        ensure!(verification.clean, "what was written does not verify: {:?}", verification.problems);
        Ok(read("verify", "verification, events", verification.events, begun.elapsed()))
    }

    /// Ends what writes, so that its files can go.
    pub(super) fn end(self) {
        self.store.close();
    }
}

/// Sessions as they are configured, as long as that does not decide what is measured.
fn settings(config: &Config) -> DirectorySettings {
    DirectorySettings {
        max_sessions: MAX_SESSIONS,
        max_memory_bytes: usize::MAX,
        session: SessionSettings { max_events: MAX_EVENTS },
        ..startup::directory_settings(config)
    }
}

/// A figure of events that were read all together.
fn read(part: &'static str, name: &str, events: u64, time: Duration) -> BenchResult {
    let (name, latencies_us) = (name.to_owned(), Vec::new());
    BenchResult { part, name, count: events, events, time, latencies_us, of_disk: None }
}
