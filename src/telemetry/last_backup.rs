//! When the last backup was made. `amoiq backup` notes it in the data directory for the metrics of the service that runs
//! there. The note is not part of a backup: a restored store has none yet.

use std::{fs, io, path::Path};

use amoiq_events::{Timestamp, durable_file};

const FILE_NAME: &str = "last_backup";

/// Notes that a backup was made.
///
/// # Errors
/// When the file cannot be written.
pub fn write(directory: &Path, at: Timestamp) -> io::Result<()> {
    durable_file::replace(&directory.join(FILE_NAME), format!("{at}\n").as_bytes())
}

/// When the last backup was made; nothing when none is noted.
#[must_use]
pub fn read(directory: &Path) -> Option<Timestamp> {
    Timestamp::parse(fs::read_to_string(directory.join(FILE_NAME)).ok()?.trim())
}
