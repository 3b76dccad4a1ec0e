//! Exports the log as lines, and imports lines as a log.

mod database;

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
        sqlite::{self, DamagePolicy, ExportOmissions, NewFile},
        transfer::line_import::{EndLinePolicy, ImportLines},
    },
};
use anyhow::{Context, ensure};

use crate::{
    cli::{
        output::{StagedProgress, print_status},
        store::verify::{self, say_notes},
    },
    config::{StoreBackend, StoreConfig},
};

/// Writes every event up to the current end of the log.
pub(super) fn export(store: &StoreConfig, file: Option<&Path>, damage: DamagePolicy) -> anyhow::Result<()> {
    let is_in_files = store.backend == StoreBackend::Sqlite;
    ensure!(
        is_in_files || damage == DamagePolicy::Stops,
        "--skip-damaged is for store.backend = sqlite: repair the database with its own tools"
    );
    let Some(path) = file else {
        let mut out = BufWriter::new(io::stdout().lock());
        if is_in_files {
            return write_all(&store.path, damage, &mut out).map(|left_out| say_left_out(&left_out));
        }
        let truncated = database::write_all(store, &mut out)?;
        ensure!(
            truncated.is_empty(),
            "events were removed while they were read, so these lines cannot be imported: export into a file"
        );
        return Ok(());
    };
    let made = NewFile::begin(path)?;
    let out = File::options().write(true).open(made.partial());
    let mut out = BufWriter::new(out.with_context(|| path.display().to_string())?);
    if is_in_files {
        say_left_out(&write_all(&store.path, damage, &mut out)?);
    } else {
        let truncated = database::write_all(store, &mut out)?;
        database::take_out_removed(made.partial(), &truncated)?;
    }
    Ok(made.finish()?)
}

fn say_left_out(left_out: &ExportOmissions) {
    for (first, last) in &left_out.positions {
        print_status(&match first == last {
            true => format!("left out: position {first}"),
            false => format!("left out: positions {first} to {last}"),
        });
    }
    for (stream, count) in &left_out.behind {
        print_status(&format!("left out: {count} events of {stream} after a damaged one"));
    }
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
    store: &StoreConfig,
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
    let imported = match store.backend {
        StoreBackend::Sqlite => {
            store_files(&store.path).import(lines, &Ambient::system(), &mut report).map_err(Into::into)
        }
        StoreBackend::Postgres | StoreBackend::Kurrentdb => database::import(store, lines, &mut report),
    };
    parts.finish();
    let verification = imported?;
    if as_json {
        return verify::print(&verification, true);
    }
    say_notes(&verification);
    let (events, to) = (verification.events, verification.verified_to);
    let what = match store.backend {
        StoreBackend::Sqlite => store.path.display().to_string(),
        StoreBackend::Postgres => format!("the schema `{}`", store.schema),
        StoreBackend::Kurrentdb => format!("the log `{}`", store.schema),
    };
    print_status(&format!("{what} contains {events} events up to position {to} and is undamaged"));
    Ok(())
}
