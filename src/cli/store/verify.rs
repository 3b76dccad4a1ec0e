//! `amoiq verify`: checks a store for damage. It changes nothing unless `--repair` is given.

use std::{io::Write, path::PathBuf, process::ExitCode};

use amoiq_actors::store_files::store_files;
use amoiq_events::{
    Ambient, Position,
    store::sqlite::{self, StoreVerification},
};
use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::read_log::{DatabaseAdvice, read_log, refuse_database};
use crate::{
    cli::output::{StagedProgress, print_result, print_status},
    config::{Config, StoreBackend, StoreConfig},
};

/// The exit code for damage.
const DAMAGED: u8 = 1;

/// The exit code for a check that could not run.
const NOT_RUN: u8 = 2;

const INSTEAD_OF_REPAIR: DatabaseAdvice = DatabaseAdvice {
    postgres: "repair it with the database's own tools, such as `REINDEX`",
    kurrentdb: "a node of the database makes its index again when the folder `index` is removed while it is stopped",
};

/// Check the whole store for damage. Exit code 0: none, 1: damage, 2: the check could not run.
#[derive(Debug, Args)]
pub(crate) struct VerifyCommand {
    /// A backup to check instead of `store.path`.
    file: Option<PathBuf>,
    /// Check only the events after this position, up to which an earlier check got.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    from: u64,
    /// First rebuild the index from the log. The service must be stopped.
    #[arg(long, conflicts_with = "file")]
    repair: bool,
    /// Print the result as JSON. If the check could not run, its `error` says why.
    #[arg(long)]
    json: bool,
}

/// Runs the check and reports the result by the exit code. If the check could not run, for instance because of an invalid
/// configuration, that is not damage.
pub(crate) fn run(command: &VerifyCommand, config: anyhow::Result<Config>) -> ExitCode {
    let checked = config.and_then(|config| check(command, &config.store));
    let verification = match checked {
        Ok(verification) => verification,
        Err(error) => return not_run(command, &error),
    };
    match print(&verification, command.json) {
        Ok(()) => ExitCode::from(if verification.clean { 0 } else { DAMAGED }),
        Err(error) => not_run(command, &error),
    }
}

fn check(command: &VerifyCommand, store: &StoreConfig) -> anyhow::Result<StoreVerification> {
    let from = Position::from_u64(command.from);
    if command.repair {
        refuse_database(store, &INSTEAD_OF_REPAIR)?;
        sqlite::repair_index(&store.path, &Ambient::system()).context("not repaired")?;
    }
    let mut parts = StagedProgress::default();
    let mut report = |work| parts.show(work);
    let path = command.file.as_deref().unwrap_or(&store.path);
    let verified = if command.file.is_none() && store.backend != StoreBackend::Sqlite {
        let log = read_log(store)?;
        store_files(path).verify_beside(&*log, from, &mut report).context("store.url")
    } else {
        store_files(path).verify(from, &mut report).with_context(|| path.display().to_string())
    };
    parts.finish();
    verified
}

fn not_run(command: &VerifyCommand, error: &anyhow::Error) -> ExitCode {
    let why = format!("{error:#}");
    if command.json {
        // Standard output may be closed. The exit code says the same.
        drop(print_result(&json!({ "error": why }).to_string()));
    }
    print_status(&format!("amoiq: {why}"));
    ExitCode::from(NOT_RUN)
}

/// Prints what is unusual in a store that is copied unchanged.
pub(super) fn say_notes(verification: &StoreVerification) {
    for problem in &verification.problems {
        let (position, stream, what) = (problem.position, &problem.stream, &problem.what);
        print_status(&format!("note: position {position} {stream}: {what}"));
    }
    let unlisted = verification.problem_count().saturating_sub(verification.problems.len() as u64);
    if unlisted > 0 {
        print_status(&format!("note: {unlisted} more of this kind"));
    }
    verification.notes.iter().for_each(|note| print_status(&format!("note: {note}")));
}

/// Prints the result on standard output.
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
        writeln!(out, "{count} of kind {}", kind.name())?;
    }
    for note in &verification.notes {
        writeln!(out, "note: {note}")?;
    }
    let StoreVerification { events, streams, from, verified_to, .. } = verification;
    let found = if verification.clean { "no damage found" } else { "damage found" };
    writeln!(out, "{found}: {events} events from {from} to {verified_to}, {streams} streams")?;
    Ok(out.flush()?)
}
