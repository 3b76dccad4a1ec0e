//! All of the log as lines, and lines as a log.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use amoiq_events::{
    Ambient, EventStore, Position,
    store::{
        MAX_READ_EVENTS, line,
        sqlite::{self, ReadOnlyStore},
    },
};
use anyhow::Context;

use crate::cli::{
    block_on,
    progress::{Parts, Progress, say},
    verify::say_notes,
};

/// Writes every event up to where the log ends now.
pub(super) fn export(store: &Path, file: Option<&Path>) -> anyhow::Result<()> {
    let log = ReadOnlyStore::open(store)?;
    let Some(path) = file else {
        return write_all(&log, &mut BufWriter::new(io::stdout().lock()));
    };
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut out = BufWriter::new(made.with_context(|| path.display().to_string())?);
    write_all(&log, &mut out)?;
    Ok(out.into_inner()?.sync_all()?)
}

fn write_all(log: &dyn EventStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let head = log.head();
    let mut progress = Progress::new("positions", head.as_u64());
    let mut after = Position::START;
    while after < head {
        let events = block_on(async { Ok(log.read_all(after, MAX_READ_EVENTS).await?) })?;
        let Some(last) = events.last() else { break };
        progress.advance(last.position.as_u64().saturating_sub(after.as_u64()));
        after = last.position;
        for event in events.iter().filter(|event| event.position <= head) {
            writeln!(out, "{}", line::write(event)?)?;
        }
    }
    out.flush()?;
    progress.finish();
    Ok(())
}

/// Fills an empty store.
pub(super) fn import(store: &Path, file: Option<&Path>) -> anyhow::Result<()> {
    let (mut lines, total): (Box<dyn BufRead>, u64) = match file {
        None => (Box::new(BufReader::new(io::stdin())), 0),
        Some(path) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            let total = file.metadata()?.len();
            (Box::new(BufReader::new(file)), total)
        }
    };
    let mut parts = Parts::default();
    let mut report = |work| parts.show(work);
    let imported = sqlite::import(&mut *lines, total, store, &Ambient::system(), &mut report);
    parts.finish();
    let verification = imported?;
    say_notes(&verification);
    let (events, to) = (verification.events, verification.verified_to);
    say(&format!("{} holds {events} events up to position {to}; it verifies", store.display()));
    Ok(())
}
