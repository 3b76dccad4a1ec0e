//! Whether a file that SQLite calls malformed is damaged, or could not be read.
//!
//! SQLite answers `SQLITE_CORRUPT` for bytes that make no database, and also when the system refuses to read
//! (`EIO`, `ENXIO`, `ERANGE`); the error of a statement does not tell which. Restoring a backup is right for the
//! first and loses data for the second. A page that is asked for by its number is not interpreted:
//! `sqlite_dbpage` fails only where the system did not give the bytes. So before damage is said, all pages are
//! read once that way, on a connection of its own whose cache is empty. Its first page is read with the schema:
//! that error has the system's own code.
//!
//! A page that does not read makes the file unreadable until that page reads again, which is tried every
//! second ([`FileReadability::probe`]).

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, ErrorCode, ffi};

use crate::store::sqlite::files::{connection, row_seal};

/// How often what does not read is tried again.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// For so long a file whose damage is confirmed is not read whole again.
const CONFIRMED_FOR: Duration = Duration::from_secs(60);

/// A page that the system does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("page {page} of {file} could not be read (I/O error)")]
pub struct UnreadableFile {
    page: u32,
    file: String,
}

/// Whether a file reads.
#[derive(Debug)]
pub struct FileReadability {
    path: PathBuf,
    state: Mutex<ReadabilityState>,
}

#[derive(Debug, Default)]
struct ReadabilityState {
    failing: Option<(UnreadableFile, Instant)>,
    /// When all of it had been read and it was malformed all the same.
    damaged_at: Option<Instant>,
}

impl FileReadability {
    /// For the database in this file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Mutex::default() }
    }

    /// What does not read now.
    #[must_use]
    pub fn failing(&self) -> Option<UnreadableFile> {
        self.state().failing.as_ref().map(|(found, _)| found.clone())
    }

    /// Finds out whether the file reads, which takes as long as reading it. To be asked when SQLite says that it
    /// is malformed or that there was an I/O error.
    pub fn judge(&self) -> Option<UnreadableFile> {
        // Whoever else asks waits for the answer.
        let mut state = self.state();
        if state.damaged_at.is_some_and(|at| at.elapsed() < CONFIRMED_FOR) {
            return None;
        }
        let found = find(&self.path)?;
        if state.failing.is_none() {
            tracing::error!(error = %found, "a file is not read; this says nothing of damage: look at the system's log");
        }
        state.failing = Some((found.clone(), Instant::now()));
        Some(found)
    }

    /// What to tell of an error: when the file could not be read, that.
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

    /// The file was judged to read, and is malformed all the same.
    pub fn confirm_damage(&self) {
        self.state().damaged_at = Some(Instant::now());
    }

    /// Tries again what did not read, once a second.
    pub fn probe(&self) {
        let mut state = self.state();
        let Some((found, tried_at)) = &mut state.failing else { return };
        if tried_at.elapsed() < PROBE_EVERY {
            return;
        }
        *tried_at = Instant::now();
        if read(&self.path, found.page..=found.page).is_none() {
            tracing::info!(file = found.file, "a file is read again");
            state.failing = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, ReadabilityState> {
        self.state.lock()
    }
}

/// The first page of a database's file that the system does not give.
#[must_use]
pub fn find(path: &Path) -> Option<UnreadableFile> {
    read(path, 1..=u32::MAX)
}

/// Whether the system refused something, reading or writing.
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

/// Whether an error may be for bytes that the system did not give.
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
