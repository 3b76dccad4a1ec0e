//! The same for a log in a database. It is read page by page: when the start of a stream is removed meanwhile, lines that
//! are not in the stream any more are taken out at the end.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Seek, Write},
    path::Path,
    time::Duration,
};

use amoiq_actors::store_files::store_files;
use amoiq_events::{
    Position, RecordedEvent,
    store::{
        line::{self, ExportEnd},
        sqlite::{DirectoryLock, StoreVerification},
        transfer::{
            filling::LogFilling,
            line_import::ImportLines,
            log_export::{TruncatedStreams, export_log},
            work_progress::ProgressCallback,
        },
    },
};
use anyhow::{Context, ensure};

use crate::{
    cli::{
        block_on,
        output::{StagedProgress, print_status},
        store::read_log::{begin_filling, read_log},
    },
    config::StoreConfig,
};

/// Files of a log, or beside one: an imported log has none yet.
const OF_A_LOG: [&str; 3] = ["log.db", "outbox.db", "views.db"];

/// Writes a line for every event up to the current end of the log.
pub(super) fn write_all(store: &StoreConfig, out: &mut dyn Write) -> anyhow::Result<TruncatedStreams> {
    let log = read_log(store)?;
    let mut parts = StagedProgress::default();
    let mut end = ExportEnd::default();
    let mut each = |event: &RecordedEvent| -> anyhow::Result<()> {
        end = ExportEnd { events: end.events + 1, position: event.position };
        Ok(writeln!(out, "{}", line::write(event)?)?)
    };
    let truncated = block_on(export_log(&*log, &mut |work| parts.show(work), &mut each));
    parts.finish();
    let truncated = truncated?;
    // Without it nobody imports the lines.
    if truncated.is_empty() {
        writeln!(out, "{}", line::write_end(end))?;
    }
    out.flush()?;
    Ok(truncated)
}

/// Writes the lines of a file again, from its start, without events that were removed. There are never more bytes.
pub(super) fn take_out_removed(file: &Path, truncated: &TruncatedStreams) -> anyhow::Result<()> {
    if truncated.is_empty() {
        return Ok(());
    }
    let lines = BufReader::new(File::open(file)?).lines();
    let mut out = BufWriter::new(File::options().write(true).open(file)?);
    let mut end = ExportEnd::default();
    for text in lines {
        let text = text?;
        let event = line::read(&text)?;
        if !truncated.has_removed(&event) {
            end = ExportEnd { events: end.events + 1, position: event.position };
            writeln!(out, "{text}")?;
        }
    }
    writeln!(out, "{}", line::write_end(end))?;
    out.flush()?;
    let length = out.stream_position()?;
    Ok(out.get_ref().set_len(length)?)
}

/// Fills an empty log.
pub(super) fn import(
    store: &StoreConfig,
    lines: ImportLines<'_>,
    report: ProgressCallback<'_>,
) -> anyhow::Result<StoreVerification> {
    let _lock = DirectoryLock::take_within(&store.path, Duration::ZERO).context("store.path")?;
    for name in OF_A_LOG {
        let file = store.path.join(name);
        ensure!(
            !file.try_exists()?,
            "{} is of another log: name an empty directory in store.path",
            file.display()
        );
    }
    let mut filling = begin_filling(store, None).context("store.url")?;
    let imported = fill(store, &mut *filling, lines, report);
    if imported.is_ok() {
        filling.finish(report)?;
    } else if let Err(error) = filling.discard() {
        print_status(&format!("what was imported is still there, and the next import removes it: {error}"));
    }
    imported
}

fn fill(
    store: &StoreConfig,
    filling: &mut dyn LogFilling,
    lines: ImportLines<'_>,
    report: ProgressCallback<'_>,
) -> anyhow::Result<StoreVerification> {
    lines.fill(filling, report)?;
    let log = filling.reader()?;
    let verification = store_files(&store.path).verify_beside(&*log, Position::START, report)?;
    ensure!(
        verification.is_intact(),
        "what was imported does not verify ({} problems)",
        verification.problem_count()
    );
    Ok(verification)
}
