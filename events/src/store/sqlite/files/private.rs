//! Directories and files that only their owner reads: a log has every message and the secrets of webhooks.
//!
//! SQLite makes its files with the mode that the process is told to use, and gives the ones beside a database
//! (`-wal`, `-shm`) the mode of the database. So a database is made here, empty, before SQLite opens it. What is
//! there already keeps its mode.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Makes a directory, and those above it, that only its owner enters.
///
/// # Errors
/// When the file system refuses.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes an empty file that only its owner reads, when it does not exist. One that does is not even opened: a
/// process that closes a handle of a database's file loses the locks that SQLite has on it there.
///
/// # Errors
/// When the file system refuses.
pub fn make_file(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _made_or_there => Ok(()),
    }
}
