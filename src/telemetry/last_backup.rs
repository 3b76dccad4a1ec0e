//! When the last backup was made. `amoiq backup` notes it in the data directory for the metrics of the service that runs
//! there. The note is not part of a backup: a restored store has none yet.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use amoiq_events::Timestamp;

const FILE_NAME: &str = "last_backup";

/// Notes that a backup was made.
///
/// # Errors
/// When the file cannot be written.
pub fn write(directory: &Path, at: Timestamp) -> io::Result<()> {
    let fresh = directory.join(format!("{FILE_NAME}.new"));
    let mut file = File::create(&fresh)?;
    writeln!(file, "{at}")?;
    file.sync_all()?;
    fs::rename(fresh, directory.join(FILE_NAME))
}

/// When the last backup was made; nothing when none is noted.
#[must_use]
pub fn read(directory: &Path) -> Option<Timestamp> {
    Timestamp::parse(fs::read_to_string(directory.join(FILE_NAME)).ok()?.trim())
}
