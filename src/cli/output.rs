//! What the commands print: results on standard output, everything else on standard error.

use std::io::{self, Write};

mod progress;
mod table;

pub(super) use self::{
    progress::{ProgressDisplay, StagedProgress},
    table::{cell, fields, table},
};

/// Writes a result, of one line or several, to standard output.
///
/// # Errors
/// When standard output is closed.
pub(super) fn print_result(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    Ok(out.flush()?)
}

/// Writes a line about the work to standard error. If that is closed, nobody reads it.
pub(super) fn print_status(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Writes a warning to standard error: it stops nothing.
pub(super) fn print_warning(text: &str) {
    print_status(&format!("amoiq: {text}"));
}
