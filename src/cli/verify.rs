//! `amoiq verify`: whether a store is what was written. It changes nothing unless `--repair` is given.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use amoiq_events::{
    Ambient, Position,
    store::sqlite::{self, Verification},
};
use clap::Args;

use super::progress::{Parts, say};

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
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, store: &Path) -> anyhow::Result<ExitCode> {
    let mut parts = Parts::default();
    let path = arguments.file.as_deref().unwrap_or(store);
    if arguments.repair
        && let Err(error) = sqlite::repair_index(store, &Ambient::system())
    {
        say(&format!("amoiq: not repaired: {error}"));
        return Ok(ExitCode::from(NOT_RUN));
    }
    let from = Position::from_u64(arguments.from);
    let verified = sqlite::verify(path, from, &mut |work| parts.show(work));
    parts.finish();
    match verified {
        Err(error) => {
            say(&format!("amoiq: {}: {error}", path.display()));
            Ok(ExitCode::from(NOT_RUN))
        }
        Ok(verification) => {
            print(&verification, arguments.json)?;
            Ok(ExitCode::from(if verification.clean { 0 } else { DAMAGED }))
        }
    }
}

/// Says what is remarkable in a store that is copied as it is.
pub(super) fn say_notes(verification: &Verification) {
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
pub(super) fn print(verification: &Verification, as_json: bool) -> anyhow::Result<()> {
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
    let Verification { events, streams, from, verified_to, .. } = verification;
    let found = if verification.clean { "nothing is wrong" } else { "damage was found" };
    writeln!(out, "{found}: {events} events from {from} to {verified_to}, {streams} streams")?;
    Ok(out.flush()?)
}
