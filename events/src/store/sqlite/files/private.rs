//! Directories and files that only their owner reads: a log contains every message and the secrets of webhooks.
//!
//! SQLite creates its files with the process's default mode, and gives those beside a database (`-wal`, `-shm`) the mode of
//! the database. So a database is created here, empty, before SQLite opens it. An existing file keeps its mode.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Creates a directory, and those above it, that only its owner can enter.
///
/// # Errors
/// When the file system refuses.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates an empty file that only its owner reads, if it does not exist. An existing file is not even opened: a process
/// that closes a handle of a database's file loses the locks that SQLite has on it.
///
/// # Errors
/// When the file system refuses.
pub fn make_file(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _made_or_there => Ok(()),
    }
}
