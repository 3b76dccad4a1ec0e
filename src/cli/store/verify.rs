//! `amoiq verify`: whether a store is what was written. It changes nothing unless `--repair` is given.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use amoiq_actors::store_files::store_files;
use amoiq_events::{
    Ambient, Position,
    store::sqlite::{self, StoreVerification},
};
use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::cli::output::{StagedProgress, print_result, print_status};
use crate::config::Config;

/// Something does not fit.
const DAMAGED: u8 = 1;

/// The store could not be looked at.
const NOT_RUN: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct VerifyCommand {
    /// A backup's file; `store.path` when absent.
    file: Option<PathBuf>,
    /// Read only what is behind this position: where a run before came to.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    from: u64,
    /// First make the index again from the log. The service must be stopped.
    #[arg(long, conflicts_with = "file")]
    repair: bool,
    /// Print the result as JSON; what kept it from looking is its `error`.
    #[arg(long)]
    json: bool,
}

/// Looks, and says by the exit code what was found. Whatever keeps it from looking, a configuration that cannot
/// be read included, is not damage.
pub(crate) fn run(command: &VerifyCommand, config: anyhow::Result<Config>) -> ExitCode {
    let looked = config.and_then(|config| look(command, &config.store.path));
    let verification = match looked {
        Ok(verification) => verification,
        Err(error) => return not_run(command, &error),
    };
    match print(&verification, command.json) {
        Ok(()) => ExitCode::from(if verification.clean { 0 } else { DAMAGED }),
        Err(error) => not_run(command, &error),
    }
}

fn look(command: &VerifyCommand, store: &Path) -> anyhow::Result<StoreVerification> {
    let mut parts = StagedProgress::default();
    let path = command.file.as_deref().unwrap_or(store);
    if command.repair {
        sqlite::repair_index(store, &Ambient::system()).context("not repaired")?;
    }
    let from = Position::from_u64(command.from);
    let verified = store_files(path).verify(from, &mut |work| parts.show(work));
    parts.finish();
    verified.with_context(|| path.display().to_string())
}

fn not_run(command: &VerifyCommand, error: &anyhow::Error) -> ExitCode {
    let why = format!("{error:#}");
    if command.json {
        // Standard output may be what is closed; the exit code says the same.
        drop(print_result(&json!({ "error": why }).to_string()));
    }
    print_status(&format!("amoiq: {why}"));
    ExitCode::from(NOT_RUN)
}

/// Says what is remarkable in a store that is copied as it is.
pub(super) fn say_notes(verification: &StoreVerification) {
    for problem in &verification.problems {
        let (position, stream, what) = (problem.position, &problem.stream, &problem.what);
        print_status(&format!("note: position {position} {stream}: {what}"));
    }
    let unlisted = verification.problem_count().saturating_sub(verification.problems.len() as u64);
    if unlisted > 0 {
        print_status(&format!("note: {unlisted} more of the kind"));
    }
    verification.notes.iter().for_each(|note| print_status(&format!("note: {note}")));
}

/// Writes the result to standard output.
pub(super) fn print(verification: &StoreVerification, as_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string(verification)?)?;
        return Ok(out.flush()?);
    }
    for problem in &verification.problems {
        let (position, stream, what) = (problem.position, &problem.stream, &problem.what);
        writeln!(out, "position {position} {stream}: {what}\n  {}", problem.advice)?;
    }
    for (kind, count) in &verification.counts {
        writeln!(out, "{count} of the kind {}", kind.name())?;
    }
    for note in &verification.notes {
        writeln!(out, "note: {note}")?;
    }
    let StoreVerification { events, streams, from, verified_to, .. } = verification;
    let found = if verification.clean { "nothing is wrong" } else { "damage was found" };
    writeln!(out, "{found}: {events} events from {from} to {verified_to}, {streams} streams")?;
    Ok(out.flush()?)
}
