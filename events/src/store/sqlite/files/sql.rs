//! Names and paths as SQL writes them.

use std::{io, path::Path};

/// A name in SQL.
pub(in crate::store::sqlite) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A path in SQL, where it is a text. If invalid bytes were replaced, SQLite would open another file, with another mode.
pub(in crate::store::sqlite) fn path(path: &Path) -> io::Result<&str> {
    let refused = || {
        let why = format!("{} is not UTF-8: SQLite cannot be told such a path", path.display());
        io::Error::new(io::ErrorKind::InvalidFilename, why)
    };
    path.to_str().ok_or_else(refused)
}
