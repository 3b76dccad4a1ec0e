//! `amoiq health`: asks the service on this data directory whether it is ready, or only whether it is alive. For
//! containers and scripts.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::Value;

use super::client::http_client;
use crate::{cli::output::print_result, config::Config, operator::connection_file::ConnectionFile};

/// How long the response may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long the command waits before it asks again.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Ask whether the service that runs here is ready, or alive.
#[derive(Debug, Args)]
pub(crate) struct HealthCommand {
    /// Only ask whether the service answers at all. A service that is not alive must be restarted. A service that is alive
    /// but not ready may be healthy, and must only receive no traffic.
    #[arg(long)]
    alive: bool,
    /// Ask again for this many seconds, until the answer is yes: a service that is starting may not answer yet.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u16,
    /// Print the response as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints `ready` or `alive`, or fails with the reasons.
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
        let answer: Value = serde_json::from_str(&text).context("the response of the service")?;
        print_result(&serde_json::to_string_pretty(&answer)?)?;
    }
    ensure!(is_good, "not {good}: {text}");
    if command.json { Ok(()) } else { print_result(good) }
}

/// Whether the answer is yes, and the body of the response.
fn ask(config: &Config, path: &str) -> anyhow::Result<(bool, String)> {
    let address = ConnectionFile::find(&config.store.path)?.service;
    let answer = http_client(TIMEOUT)?.get(format!("{address}/{path}")).send();
    let answer = answer.with_context(|| format!("the service at {address} does not answer"))?;
    Ok((answer.status().is_success(), answer.text().unwrap_or_default()))
}
