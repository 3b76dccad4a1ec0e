//! The parts of the service that are measured: the store, the sessions, the inbox.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use amoiq_actors::{
    Directory, Projector, Rebuilds, Views, inbox::InboxProjection, projector::Progress, rebuild::Outcome,
};
use amoiq_events::{
    Ambient, EventStore, Position,
    store::sqlite::{self, SqliteStore},
};
use anyhow::bail;
use tokio::task::JoinSet;

use super::{figure::Figure, load::Visitor};
use crate::{config::Config, startup};

/// The most messages of a round.
const MAX_MESSAGES: u64 = 1_000_000;

/// How long the inbox may take to follow.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether the rebuild is done.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What runs.
pub(super) struct Trial {
    store: Arc<SqliteStore>,
    directory: Directory,
    inbox: Progress,
    rebuilds: Rebuilds,
    ambient: Ambient,
}

impl Trial {
    /// Begins with nothing, as the service would there.
    pub(super) fn begin(place: &Path, config: &Config) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let store = Arc::new(SqliteStore::open(&place.join("data"), &ambient)?);
        let log: Arc<dyn EventStore> = Arc::clone(&store) as _;
        let directory = Directory::start(startup::directory_settings(config), &log, &ambient);
        let views = Views::open(&place.join("data/views.db"))?;
        let (inbox, rebuilds) = Projector::<InboxProjection>::start_with_rebuilds(&views, &log);
        Ok(Self { store, directory, inbox, rebuilds, ambient })
    }

    /// Lets as many visitors write at once, and tells how many events were synced together.
    pub(super) async fn messages(&self, at_once: u16, time: Duration) -> anyhow::Result<(Figure, usize)> {
        let meter = self.store.meter();
        let commits = || meter.commit_events.counts().buckets.iter().map(|(_, count)| count).sum::<u64>();
        let (events_before, commits_before) = (meter.events(), commits());
        let begun = Instant::now();
        let left = Arc::new(AtomicU64::new(MAX_MESSAGES));
        let mut visitors = JoinSet::new();
        for number in 0..at_once {
            let (directory, ambient) = (self.directory.clone(), self.ambient.clone());
            let name = format!("bench-{at_once}-{number}");
            let visitor = Visitor { directory, ambient, name, end: begun + time, left: Arc::clone(&left) };
            visitors.spawn(visitor.write());
        }
        let mut latencies_us = Vec::new();
        while let Some(written) = visitors.join_next().await {
            latencies_us.extend(written??);
        }
        let time = begun.elapsed();
        latencies_us.sort_unstable();
        let (events, commits) = (meter.events() - events_before, commits() - commits_before);
        let sessions = if at_once == 1 { "session" } else { "sessions" };
        let figure = Figure {
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
    pub(super) async fn rebuild(&self) -> anyhow::Result<Figure> {
        let head = self.store.head();
        self.inbox.reach(head, PATIENCE).await?;
        let begun = Instant::now();
        self.rebuilds.start(None).await?;
        let outcome = loop {
            match self.rebuilds.report().outcome {
                Some(outcome) => break outcome,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        if outcome != Outcome::Done {
            bail!("the rebuild did not end: {outcome:?}");
        }
        Ok(read("rebuild", "rebuild of the inbox, events", head.as_u64(), begun.elapsed()))
    }

    /// Has all that was written verified.
    pub(super) async fn verify(&self, place: &Path) -> anyhow::Result<Figure> {
        let data = place.join("data");
        let begun = Instant::now();
        let verifying = move || sqlite::verify(&data, Position::START, &mut |_work| {});
        let verification = tokio::task::spawn_blocking(verifying).await??;
        if !verification.clean {
            bail!("what was written does not verify: {:?}", verification.problems);
        }
        Ok(read("verify", "verification, events", verification.events, begun.elapsed()))
    }

    /// Ends what writes, so that its files can go.
    pub(super) fn end(self) {
        self.store.close();
    }
}

/// A figure of events that were read all together.
fn read(part: &'static str, name: &str, events: u64, time: Duration) -> Figure {
    let (name, latencies_us) = (name.to_owned(), Vec::new());
    Figure { part, name, count: events, events, time, latencies_us, of_disk: None }
}
