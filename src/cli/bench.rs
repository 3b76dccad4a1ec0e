//! `amoiq bench`: what this machine takes. Sessions are sent messages as fast as they answer, on a store of their
//! own that is removed again; beside it stands what the same disk does without anything else.
//!
//! It measures the service without HTTP. Every part ends by itself: after a time, or a number of messages.

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

#[derive(Debug, Args)]
pub(super) struct BenchCommand {
    /// A directory on the disk that is meant; `store.path` when absent.
    directory: Option<PathBuf>,
    /// How many sessions write at the same time in the second round; in the first it is one.
    #[arg(long, value_name = "SESSIONS", default_value_t = 64, value_parser = value_parser!(u16).range(2..=1_024))]
    at_once: u16,
    /// How long messages are written, and the disk alone, in each round.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Print each figure as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// Measures. Nothing is left behind, unless it is killed.
///
/// # Errors
/// When it cannot measure there, or is interrupted.
pub(super) fn run(command: &BenchCommand, config: &Config) -> anyhow::Result<()> {
    actix::System::new().block_on(async {
        // Listens before there is anything that would have to be removed.
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
        let stays = format!("{} could not be removed", place.path().display());
        place.close().with_context(|| match &measured {
            Ok(()) => stays,
            Err(error) => format!("{error:#}; {stays}"),
        })?;
        measured
    })
}

/// A directory of its own on the disk that is meant.
fn scratch(parent: &Path) -> anyhow::Result<TempDir> {
    let parent_name = parent.display();
    ensure!(parent.is_dir(), "{parent_name} is no directory: name one on the disk that is meant");
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
        show(&messages.beside(&disk))?;
        show(&disk)?;
    }
    show(&trial.rebuild().await?)?;
    show(&trial.verify(place).await?)
}
