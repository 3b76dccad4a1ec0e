//! When the last backup was made. `amoiq backup` notes it in the data directory for the metrics of the service that runs
//! there. The note is not part of a backup: a restored store has none yet.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use amoiq_events::{Timestamp, durable_file};

const FILE_NAME: &str = "last_backup";

/// Notes that a backup was made. Whoever made it, root for one, the service may read the note.
///
/// # Errors
/// When the file cannot be written.
pub fn write(directory: &Path, at: Timestamp) -> io::Result<()> {
    let path = directory.join(FILE_NAME);
    durable_file::replace(&path, format!("{at}\n").as_bytes())?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// When the last backup was made; nothing when none is noted.
#[must_use]
pub fn read(directory: &Path) -> Option<Timestamp> {
    Timestamp::parse(fs::read_to_string(directory.join(FILE_NAME)).ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_may_read_what_another_user_notes() {
        let directory = tempfile::tempdir().unwrap();
        let at = Timestamp::parse("2024-01-15T10:30:00Z").unwrap();
        write(directory.path(), at).unwrap();
        let mode = fs::metadata(directory.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!((read(directory.path()), mode & 0o777), (Some(at), 0o644));
    }
}
