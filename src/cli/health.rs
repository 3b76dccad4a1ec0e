//! `amoiq health`: asks the service on this data directory whether it is ready; for containers and scripts.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::operator::{client, say};
use crate::{config::Config, operator::door::Door};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says `ready`, or fails with the reasons.
///
/// # Errors
/// When the service does not answer, or is not ready.
pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let address = Door::find(&config.store.path)?.service;
    let client = client(PATIENCE)?;
    let answer = client.get(format!("{address}/readyz")).send();
    let answer = answer.with_context(|| format!("the service at {address} does not answer"))?;
    let is_ready = answer.status().is_success();
    let text = answer.text().unwrap_or_default();
    ensure!(is_ready, "not ready: {text}");
    say("ready")
}
