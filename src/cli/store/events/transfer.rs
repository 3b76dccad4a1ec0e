//! Exports the log as lines, and imports lines as a log.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use amoiq_actors::store_files::store_files;
use amoiq_events::{
    Ambient, RecordedEvent,
    store::{
        line::{self, ExportEnd},
        sqlite::{self, DamagePolicy, EndLinePolicy, ExportOmissions, ImportLines, NewFile},
    },
};
use anyhow::Context;

use crate::cli::{
    output::{StagedProgress, print_status},
    store::verify::{self, say_notes},
};

/// Writes every event up to the current end of the log.
pub(super) fn export(store: &Path, file: Option<&Path>, damage: DamagePolicy) -> anyhow::Result<()> {
    let left_out = match file {
        None => write_all(store, damage, &mut BufWriter::new(io::stdout().lock()))?,
        Some(path) => {
            let made = NewFile::begin(path)?;
            let out = File::options().write(true).open(made.partial());
            let out = out.with_context(|| path.display().to_string())?;
            let left_out = write_all(store, damage, &mut BufWriter::new(out))?;
            made.finish()?;
            left_out
        }
    };
    for (first, last) in &left_out.positions {
        print_status(&match first == last {
            true => format!("left out: position {first}"),
            false => format!("left out: positions {first} to {last}"),
        });
    }
    for (stream, count) in &left_out.behind {
        print_status(&format!("left out: {count} events of {stream} after a damaged one"));
    }
    Ok(())
}

fn write_all(store: &Path, damage: DamagePolicy, out: &mut dyn Write) -> anyhow::Result<ExportOmissions> {
    let mut parts = StagedProgress::default();
    let mut end = ExportEnd::default();
    let mut each = |event: &RecordedEvent| {
        end = ExportEnd { events: end.events + 1, position: event.position };
        Ok(writeln!(out, "{}", line::write(event)?)?)
    };
    let left_out: anyhow::Result<ExportOmissions> =
        sqlite::export(store, damage, &mut |work| parts.show(work), &mut each);
    parts.finish();
    let left_out = left_out?;
    writeln!(out, "{}", line::write_end(end))?;
    out.flush()?;
    Ok(left_out)
}

/// Fills an empty store.
pub(super) fn import(
    store: &Path,
    file: Option<&Path>,
    end_line: EndLinePolicy,
    as_json: bool,
) -> anyhow::Result<()> {
    let (mut reader, total_bytes): (Box<dyn BufRead>, u64) = match file {
        None => (Box::new(BufReader::new(io::stdin())), 0),
        Some(path) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            let total = file.metadata()?.len();
            (Box::new(BufReader::new(file)), total)
        }
    };
    let mut parts = StagedProgress::default();
    let mut report = |work| parts.show(work);
    let lines = ImportLines { reader: &mut *reader, total_bytes, end_line };
    let imported = store_files(store).import(lines, &Ambient::system(), &mut report);
    parts.finish();
    let verification = imported?;
    if as_json {
        return verify::print(&verification, true);
    }
    say_notes(&verification);
    let (events, to) = (verification.events, verification.verified_to);
    print_status(&format!(
        "{} contains {events} events up to position {to} and is undamaged",
        store.display()
    ));
    Ok(())
}
