//! `amoiq dead-letters`: the events that projections skip because `amoiq rebuild --skip` allowed it.

use amoiq_actors::projections::{DeadLetter, DeadLetters};
use anyhow::{Context, ensure};
use clap::Args;

use crate::{
    cli::output::{cell, print_result, table},
    config::Config,
};

/// List the events that rebuilds skipped.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersCommand {
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the list. This also works while a service runs.
///
/// # Errors
/// When the list is damaged, or there is no store.
pub(crate) fn run(config: &Config, command: &DeadLettersCommand) -> anyhow::Result<()> {
    let views = config.store.path.join("views.db");
    let exists = views.try_exists().with_context(|| views.display().to_string())?;
    ensure!(exists, "{} does not exist", views.display());
    let letters = DeadLetters::open(&config.store.path)?.all();
    if command.json {
        return print_result(&serde_json::to_string_pretty(&letters)?);
    }
    let row = |letter: &DeadLetter| {
        let DeadLetter { projection, position, kind, skipped_at, reason, .. } = letter;
        [cell(projection), cell(position), cell(kind), cell(skipped_at), cell(reason)]
    };
    let headings = ["PROJECTION", "POSITION", "TYPE", "SKIPPED AT", "REASON"];
    print_result(&table(headings, letters.iter().map(row)))
}
