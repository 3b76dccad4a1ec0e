//! `amoiq restore`: from a backup's file to a store.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use amoiq_events::{
    Ambient,
    store::sqlite::{self, ReadOnlyStore},
};
use clap::Args;

use super::{block_on, place::Place, progress::Parts, verify};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What `amoiq backup` made.
    file: PathBuf,
    /// Leave out what came after this position or time.
    #[arg(long, value_name = "POSITION|TIME")]
    to: Option<Place>,
    /// Print what was restored as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, store: &Path) -> anyhow::Result<()> {
    let mut parts = Parts::default();
    let to = match arguments.to {
        Some(place) => {
            let backup = ReadOnlyStore::open(&arguments.file)?;
            Some(block_on(place.end(&backup))?)
        }
        None => None,
    };
    let mut report = |work| parts.show(work);
    let restored = sqlite::restore(&arguments.file, store, to, &Ambient::system(), &mut report);
    parts.finish();
    let verification = restored?;
    verify::say_notes(&verification);
    if arguments.json {
        return verify::print(&verification, true);
    }
    let mut out = std::io::stdout().lock();
    let (events, to) = (verification.events, verification.verified_to);
    writeln!(out, "{} holds {events} events up to position {to}; it verifies", store.display())?;
    writeln!(out, "it begins a new epoch: read models are made again at the next start")?;
    Ok(out.flush()?)
}
