//! `amoiq backup`: copies the store into one file.

use std::{io::Write, path::PathBuf};

use amoiq_actors::store_files::store_files;
use amoiq_events::{Ambient, store::sqlite::BackupError};
use clap::Args;

use super::{
    read_log::{DatabaseAdvice, refuse_database},
    verify,
};
use crate::{
    cli::output::{StagedProgress, print_warning},
    config::StoreConfig,
    telemetry::last_backup,
};

const INSTEAD: DatabaseAdvice = DatabaseAdvice {
    postgres: "back it up with the database's own tools, such as `pg_basebackup` or `pg_dump`",
    kurrentdb: "back it up as the database's documentation says, with snapshots of a node's disk or copies of its files, \
        and use `amoiq events export` for a copy that every backend reads",
};

/// Copy the store into one new file. This also works while the service runs.
#[derive(Debug, Args)]
pub(crate) struct BackupCommand {
    /// The file to create. It must not exist.
    file: PathBuf,
    /// Print what the backup contains as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &BackupCommand, store: &StoreConfig) -> anyhow::Result<()> {
    refuse_database(store, &INSTEAD)?;
    let store = &*store.path;
    let mut parts = StagedProgress::default();
    let now = Ambient::system().now();
    let made = store_files(store).backup(&command.file, now, &mut |work| parts.show(work));
    parts.finish();
    let verification = match made {
        Err(BackupError::Damaged(verification)) => {
            verify::print(&verification, command.json)?;
            return Err(BackupError::Damaged(verification).into());
        }
        made => made?,
    };
    verify::say_notes(&verification);
    if let Err(error) = last_backup::write(store, now) {
        print_warning(&format!(
            "the backup is complete, but its time could not be noted for the metrics: {error}"
        ));
    }
    if command.json {
        return verify::print(&verification, true);
    }
    let mut out = std::io::stdout().lock();
    let (events, to) = (verification.events, verification.verified_to);
    writeln!(
        out,
        "{} contains {events} events up to position {to} and is undamaged",
        command.file.display()
    )?;
    Ok(out.flush()?)
}
