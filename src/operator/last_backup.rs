//! When the last backup was made, noted in the data directory for the metrics of the service that runs there. It is
//! not in a backup itself: a store that was restored has none yet.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use amoiq_events::Timestamp;

const FILE: &str = "last_backup";

/// Notes a backup that is made.
///
/// # Errors
/// When the directory does not take the file.
pub fn note(directory: &Path, at: Timestamp) -> io::Result<()> {
    let fresh = directory.join(format!("{FILE}.new"));
    let mut file = File::create(&fresh)?;
    writeln!(file, "{at}")?;
    file.sync_all()?;
    fs::rename(fresh, directory.join(FILE))
}

/// When the last one was made; nothing when none is noted.
#[must_use]
pub fn noted(directory: &Path) -> Option<Timestamp> {
    Timestamp::parse(fs::read_to_string(directory.join(FILE)).ok()?.trim())
}
