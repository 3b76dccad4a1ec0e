//! `amoiq bench`: measures what this machine can do. Visitors send messages as fast as they are answered, in a temporary
//! store. For comparison, the same disk is measured alone.
//!
//! The benchmark leaves out HTTP. Every part ends after a fixed time or number of messages.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use clap::{Args, value_parser};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use self::{bench_service::BenchService, result::BenchResult};
use crate::config::Config;

mod bench_service;
mod disk;
mod result;
mod visitors;

/// Measure what this machine can do, in a temporary store that is removed afterwards.
#[derive(Debug, Args)]
pub(super) struct BenchCommand {
    /// A directory on the disk to measure, instead of `store.path`.
    directory: Option<PathBuf>,
    /// How many sessions write at the same time in the second round. In the first round, one does.
    #[arg(long, value_name = "SESSIONS", default_value_t = 64, value_parser = value_parser!(u16).range(2..=1_024))]
    at_once: u16,
    /// How long each round writes messages, and then to the disk alone, in seconds.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Print each result as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark. It leaves nothing on the disk, unless it is killed.
///
/// # Errors
/// When it cannot run there, or is interrupted.
pub(super) fn run(command: &BenchCommand, config: &Config) -> anyhow::Result<()> {
    actix::System::new().block_on(async {
        // Takes over the signals before there is anything to remove.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let place = scratch(command.directory.as_deref().unwrap_or(&config.store.path))?;
        let trial = BenchService::begin(place.path(), config)?;
        let measured = tokio::select! {
            measured = measure(&trial, place.path(), command) => measured,
            _ = interrupt.recv() => Err(anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow!("interrupted")),
            _ = hangup.recv() => Err(anyhow!("interrupted")),
        };
        trial.end();
        let not_removed = format!("{} could not be removed", place.path().display());
        place.close().with_context(|| match &measured {
            Ok(()) => not_removed,
            Err(error) => format!("{error:#}; {not_removed}"),
        })?;
        measured
    })
}

/// A temporary directory on the disk to measure.
fn scratch(parent: &Path) -> anyhow::Result<TempDir> {
    let parent_name = parent.display();
    ensure!(parent.is_dir(), "{parent_name} is not a directory: name one on the disk to measure");
    tempfile::Builder::new().prefix("bench-").tempdir_in(parent).with_context(|| parent_name.to_string())
}

async fn measure(trial: &BenchService, place: &Path, command: &BenchCommand) -> anyhow::Result<()> {
    let time = Duration::from_secs(command.seconds);
    let show = |figure: &BenchResult| figure.show(command.json);
    if !command.json {
        result::show_head()?;
    }
    for at_once in [1, command.at_once] {
        let (messages, events_a_sync) = trial.messages(at_once, time).await?;
        let disk = disk::measure(place, events_a_sync, time).await?;
        show(&messages.compared_with(&disk))?;
        show(&disk)?;
    }
    show(&trial.rebuild().await?)?;
    show(&trial.verify(place).await?)
}
