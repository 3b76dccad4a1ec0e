//! `amoiq backup`: the store in one file.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use amoiq_events::{Ambient, store::sqlite};
use clap::Args;

use super::{progress::Parts, verify};
use crate::operator::last_backup;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file to make. It must not exist.
    file: PathBuf,
    /// Print what is in it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, store: &Path) -> anyhow::Result<()> {
    let mut parts = Parts::default();
    let now = Ambient::system().now();
    let made = sqlite::backup(store, &arguments.file, now, &mut |work| parts.show(work));
    parts.finish();
    let verification = match made {
        Err(sqlite::BackupError::Damaged(verification)) => {
            verify::print(&verification, arguments.json)?;
            return Err(sqlite::BackupError::Damaged(verification).into());
        }
        made => made?,
    };
    verify::say_notes(&verification);
    if let Err(error) = last_backup::note(store, now) {
        super::complain(&format!("the backup is made; its time is not noted for the metrics: {error}"));
    }
    if arguments.json {
        return verify::print(&verification, true);
    }
    let mut out = std::io::stdout().lock();
    let (events, to) = (verification.events, verification.verified_to);
    writeln!(out, "{} holds {events} events up to position {to}; it verifies", arguments.file.display())?;
    Ok(out.flush()?)
}
