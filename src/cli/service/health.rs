//! `amoiq health`: asks the service on this data directory whether it is ready, or only whether it is alive; for
//! containers and scripts.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::Value;

use super::client::http_client;
use crate::{cli::output::print_result, config::Config, operator::connection_file::ConnectionFile};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is asked again.
const ASK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct HealthCommand {
    /// Whether it answers at all: what is not has to be started again. One that is not ready may be well, and is
    /// only to be sent no traffic.
    #[arg(long)]
    alive: bool,
    /// For so many seconds, ask again until it is: a service that starts may not be there yet.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u16,
    /// Show the service's answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Says `ready` or `alive`, or fails with the reasons.
///
/// # Errors
/// When the service does not answer, or is not ready.
pub(crate) fn run(config: &Config, command: &HealthCommand) -> anyhow::Result<()> {
    let (path, good) = if command.alive { ("healthz", "alive") } else { ("readyz", "ready") };
    let end = Instant::now() + Duration::from_secs(command.wait.into());
    let (is_good, text) = loop {
        match ask(config, path) {
            Ok((true, text)) => break (true, text),
            answered if Instant::now() >= end => break answered?,
            _ => std::thread::sleep(ASK_EVERY),
        }
    };
    if command.json {
        let answer: Value = serde_json::from_str(&text).context("the service's answer")?;
        print_result(&serde_json::to_string_pretty(&answer)?)?;
    }
    ensure!(is_good, "not {good}: {text}");
    if command.json { Ok(()) } else { print_result(good) }
}

/// Whether it is well, and what it says.
fn ask(config: &Config, path: &str) -> anyhow::Result<(bool, String)> {
    let address = ConnectionFile::find(&config.store.path)?.service;
    let answer = http_client(PATIENCE)?.get(format!("{address}/{path}")).send();
    let answer = answer.with_context(|| format!("the service at {address} does not answer"))?;
    Ok((answer.status().is_success(), answer.text().unwrap_or_default()))
}
