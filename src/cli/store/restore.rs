//! `amoiq restore`: makes a store from a backup.

use std::{io::Write, path::PathBuf};

use amoiq_actors::store_files::store_files;
use amoiq_events::{Ambient, store::sqlite::ReadOnlyStore};
use clap::Args;

use super::{
    log_point::LogPoint,
    read_log::{DatabaseAdvice, refuse_database},
    verify,
};
use crate::{
    cli::{block_on, output::StagedProgress},
    config::StoreConfig,
};

const INSTEAD: DatabaseAdvice = DatabaseAdvice {
    postgres: "restore it with the database's own tools",
    kurrentdb: "restore the files of every node as the database's documentation says, while all services are stopped",
};

/// Restore a backup into an empty `store.path`.
#[derive(Debug, Args)]
pub(crate) struct RestoreCommand {
    /// The file that `amoiq backup` created.
    file: PathBuf,
    /// Leave out everything after this position or time.
    #[arg(long, value_name = "POSITION|TIME")]
    to: Option<LogPoint>,
    /// Print what was restored as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &RestoreCommand, store: &StoreConfig) -> anyhow::Result<()> {
    refuse_database(store, &INSTEAD)?;
    let store = &*store.path;
    let mut parts = StagedProgress::default();
    let to = match command.to {
        Some(point) => {
            let backup = ReadOnlyStore::open(&command.file)?;
            Some(block_on(point.end(&backup))?)
        }
        None => None,
    };
    let mut report = |work| parts.show(work);
    let restored = store_files(store).restore(&command.file, to, &Ambient::system(), &mut report);
    parts.finish();
    let verification = restored?;
    verify::say_notes(&verification);
    if command.json {
        return verify::print(&verification, true);
    }
    let mut out = std::io::stdout().lock();
    let (events, to) = (verification.events, verification.verified_to);
    writeln!(out, "{} contains {events} events up to position {to} and is undamaged", store.display())?;
    writeln!(out, "it has a new epoch: the next start rebuilds the read models")?;
    Ok(out.flush()?)
}
