//! The file `erasing` in the data directory: it is there while a person is being erased, and says nothing
//! of whom.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// The file's name.
const FILE: &str = "erasing";

/// Makes it, durably.
pub(super) fn set(directory: &Path) -> io::Result<()> {
    File::create(directory.join(FILE))?.sync_all()?;
    File::open(directory)?.sync_all()
}

/// Whether it is there.
pub(super) fn is_set(directory: &Path) -> io::Result<bool> {
    directory.join(FILE).try_exists()
}

/// Removes it.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::open(directory)?.sync_all(),
    }
}
