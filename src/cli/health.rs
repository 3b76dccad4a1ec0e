//! `amoiq health`: asks the service on this data directory whether it is ready, or only whether it is alive; for
//! containers and scripts.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::Value;

use super::operator::{client, say};
use crate::{config::Config, operator::door::Door};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Whether it answers at all: what is not has to be started again. One that is not ready may be well, and is
    /// only to be sent no traffic.
    #[arg(long)]
    alive: bool,
    /// Show the service's answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Says `ready` or `alive`, or fails with the reasons.
///
/// # Errors
/// When the service does not answer, or is not ready.
pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let (path, good) = if arguments.alive { ("healthz", "alive") } else { ("readyz", "ready") };
    let address = Door::find(&config.store.path)?.service;
    let client = client(PATIENCE)?;
    let answer = client.get(format!("{address}/{path}")).send();
    let answer = answer.with_context(|| format!("the service at {address} does not answer"))?;
    let is_good = answer.status().is_success();
    let text = answer.text().unwrap_or_default();
    if arguments.json {
        let answer: Value = serde_json::from_str(&text).context("the service's answer")?;
        say(&serde_json::to_string_pretty(&answer)?)?;
    }
    ensure!(is_good, "not {good}: {text}");
    if arguments.json { Ok(()) } else { say(good) }
}
