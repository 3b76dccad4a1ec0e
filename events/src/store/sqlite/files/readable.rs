//! Whether a file that SQLite calls malformed is damaged, or could not be read.
//!
//! SQLite returns `SQLITE_CORRUPT` for bytes that are no database, and also when the system refuses to read (`EIO`,
//! `ENXIO`, `ERANGE`); the error of a statement does not tell which. Restoring a backup is right in the first case and
//! loses data in the second. A page that is requested by its number is not interpreted: `sqlite_dbpage` fails only if the
//! system did not return the bytes. So before damage is reported, all pages are read once that way, on a separate
//! connection whose cache is empty. The first page is read with the schema: that error has the system's own code.
//!
//! A page that cannot be read makes the file unreadable until that page can be read again, which is tried every second
//! ([`FileReadability::probe`]).

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, ErrorCode, ffi};

use crate::store::sqlite::files::{connection, row_seal};

/// How often an unreadable page is tried again.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long a file whose damage is confirmed is not read as a whole again.
const CONFIRMED_FOR: Duration = Duration::from_secs(60);

/// A page that the system cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("page {page} of {file} could not be read (I/O error)")]
pub struct UnreadableFile {
    page: u32,
    file: String,
}

/// Whether a file can be read.
#[derive(Debug)]
pub struct FileReadability {
    path: PathBuf,
    state: Mutex<ReadabilityState>,
}

#[derive(Debug, Default)]
struct ReadabilityState {
    failing: Option<(UnreadableFile, Instant)>,
    /// When all of it was last read and found malformed.
    damaged_at: Option<Instant>,
}

impl FileReadability {
    /// For the database in this file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Mutex::default() }
    }

    /// What cannot be read now.
    #[must_use]
    pub fn failing(&self) -> Option<UnreadableFile> {
        self.state().failing.as_ref().map(|(found, _)| found.clone())
    }

    /// Finds out whether the file can be read, by reading all of it. To be called when SQLite says that it is malformed or
    /// that there was an I/O error.
    pub fn judge(&self) -> Option<UnreadableFile> {
        // Other callers wait for the answer.
        let mut state = self.state();
        if state.damaged_at.is_some_and(|at| at.elapsed() < CONFIRMED_FOR) {
            return None;
        }
        let found = find(&self.path)?;
        if state.failing.is_none() {
            tracing::error!(error = %found, "a file cannot be read; this does not mean damage: look at the system's log");
        }
        state.failing = Some((found.clone(), Instant::now()));
        Some(found)
    }

    /// What to report for an error: if the file could not be read, that.
    pub fn reason(&self, error: &rusqlite::Error) -> String {
        if !row_seal::is_damage(error) && !is_unread(error) {
            return row_seal::reason(error);
        }
        let found = self.judge();
        if found.is_none() {
            self.confirm_damage();
        }
        found.map_or_else(|| row_seal::reason(error), |found| found.to_string())
    }

    /// The file can be read, and is malformed.
    pub fn confirm_damage(&self) {
        self.state().damaged_at = Some(Instant::now());
    }

    /// Tries an unreadable page again, once a second.
    pub fn probe(&self) {
        let mut state = self.state();
        let Some((found, tried_at)) = &mut state.failing else { return };
        if tried_at.elapsed() < PROBE_EVERY {
            return;
        }
        *tried_at = Instant::now();
        if read(&self.path, found.page..=found.page).is_none() {
            tracing::info!(file = found.file, "a file can be read again");
            state.failing = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, ReadabilityState> {
        self.state.lock()
    }
}

/// The first page of a database's file that the system cannot read.
#[must_use]
pub fn find(path: &Path) -> Option<UnreadableFile> {
    read(path, 1..=u32::MAX)
}

/// Whether the system refused a read or a write.
#[must_use]
pub fn is_io(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

fn read(path: &Path, pages: std::ops::RangeInclusive<u32>) -> Option<UnreadableFile> {
    let file = || path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let unread = |page: u32| Some(UnreadableFile { page, file: file() });
    let conn = match connection::open_reader(path) {
        Ok(conn) => conn,
        Err(error) => return if is_io(&error) { unread(1) } else { None },
    };
    // The schema is on the first page.
    let count = match page_count(&conn) {
        Ok(count) => count,
        Err(error) => return if is_io(&error) { unread(1) } else { None },
    };
    let mut statement = conn.prepare("SELECT length(data) FROM sqlite_dbpage WHERE pgno = ?1").ok()?;
    (*pages.start()..=count.min(*pages.end()))
        .find(|page| {
            statement.query_row([page], |row| row.get::<_, i64>(0)).is_err_and(|error| is_unread(&error))
        })
        .and_then(unread)
}

fn page_count(conn: &Connection) -> rusqlite::Result<u32> {
    conn.prepare("SELECT count(*) FROM sqlite_master")?;
    conn.pragma_query_value(None, "page_count", |row| row.get(0))
}

/// Whether an error may come from bytes that the system could not read.
#[must_use]
pub fn is_unread(error: &rusqlite::Error) -> bool {
    const CODES: [i32; 4] = [
        ffi::SQLITE_CORRUPT,
        ffi::SQLITE_IOERR_READ,
        ffi::SQLITE_IOERR_SHORT_READ,
        ffi::SQLITE_IOERR_CORRUPTFS,
    ];
    error.sqlite_error().is_some_and(|error| CODES.contains(&error.extended_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_damaged_row_the_table_is_told_and_not_how_it_was_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let readability = FileReadability::new(&directory.path().join("log.db"));
        assert_eq!(readability.reason(&row_seal::broken("meta")), "a row of `meta` is not what was written");
    }
}
