//! `amoiq verify`: whether a store is what was written. It changes nothing unless `--repair` is given.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use amoiq_events::{
    Ambient, Position,
    store::sqlite::{self, StoreVerification},
};
use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{
    operator,
    progress::{Parts, say},
};
use crate::config::Config;

/// Something does not fit.
const DAMAGED: u8 = 1;

/// The store could not be looked at.
const NOT_RUN: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct Arguments {
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
pub(super) fn run(arguments: &Arguments, config: anyhow::Result<Config>) -> ExitCode {
    let looked = config.and_then(|config| look(arguments, &config.store.path));
    let verification = match looked {
        Ok(verification) => verification,
        Err(error) => return not_run(arguments, &error),
    };
    match print(&verification, arguments.json) {
        Ok(()) => ExitCode::from(if verification.clean { 0 } else { DAMAGED }),
        Err(error) => not_run(arguments, &error),
    }
}

fn look(arguments: &Arguments, store: &Path) -> anyhow::Result<StoreVerification> {
    let mut parts = Parts::default();
    let path = arguments.file.as_deref().unwrap_or(store);
    if arguments.repair {
        sqlite::repair_index(store, &Ambient::system()).context("not repaired")?;
    }
    let from = Position::from_u64(arguments.from);
    let verified = sqlite::verify(path, from, &mut |work| parts.show(work));
    parts.finish();
    verified.with_context(|| path.display().to_string())
}

fn not_run(arguments: &Arguments, error: &anyhow::Error) -> ExitCode {
    let why = format!("{error:#}");
    if arguments.json {
        // Standard output may be what is closed; the exit code says the same.
        drop(operator::say(&json!({ "error": why }).to_string()));
    }
    say(&format!("amoiq: {why}"));
    ExitCode::from(NOT_RUN)
}

/// Says what is remarkable in a store that is copied as it is.
pub(super) fn say_notes(verification: &StoreVerification) {
    for problem in &verification.problems {
        let (position, stream, what) = (problem.position, &problem.stream, &problem.what);
        say(&format!("note: position {position} {stream}: {what}"));
    }
    let unlisted = verification.problem_count().saturating_sub(verification.problems.len() as u64);
    if unlisted > 0 {
        say(&format!("note: {unlisted} more of the kind"));
    }
    verification.notes.iter().for_each(|note| say(&format!("note: {note}")));
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
        writeln!(out, "{count} of the kind {kind:?}")?;
    }
    for note in &verification.notes {
        writeln!(out, "note: {note}")?;
    }
    let StoreVerification { events, streams, from, verified_to, .. } = verification;
    let found = if verification.clean { "nothing is wrong" } else { "damage was found" };
    writeln!(out, "{found}: {events} events from {from} to {verified_to}, {streams} streams")?;
    Ok(out.flush()?)
}
