//! `amoiq dead-letters`: the events that projections pass by, because `amoiq rebuild --skip` let them.

use amoiq_actors::projections::DeadLetters;
use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use crate::{
    cli::output::{print_result, table},
    config::Config,
};

/// List the events that rebuilds skipped.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersCommand {
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// Reads the list, beside a running service too.
///
/// # Errors
/// When it is damaged, or there is no store that it could be of.
pub(crate) fn run(config: &Config, command: &DeadLettersCommand) -> anyhow::Result<()> {
    let log = config.store.path.join("log.db");
    let is_there = log.try_exists().with_context(|| log.display().to_string())?;
    ensure!(is_there, "{} does not exist", log.display());
    let letters = json!(DeadLetters::open(&config.store.path)?.all());
    if command.json {
        return print_result(&serde_json::to_string_pretty(&letters)?);
    }
    print_result(&table(&letters, &["projection", "position", "type", "skippedAt", "reason"]))
}
