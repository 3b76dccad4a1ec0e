//! What must hold of every data directory when its service has ended.
//!
//! The log verifies, and a replay of the log gives exactly the tables that the service kept while it ran.
//!
//! Left out are the lists that the service keeps in memory alone: who is online, and transcripts.

use std::{fs, path::Path};

use rusqlite::{Connection, OpenFlags, types::Value};
use tempfile::TempDir;

use crate::{cli, stores::share_log};

/// The rows of a table, in order.
pub type TableRows = Vec<Vec<Value>>;

/// Checks that everything in a data directory fits.
///
/// # Panics
/// When `amoiq verify` finds a problem.
#[track_caller]
pub fn assert_verifies(data: &Path) {
    let (code, report) = cli::verify(data, &[]);
    assert_eq!(code, 0, "the store of a service does not verify: {report}");
}

/// Checks that a replay of the whole log gives the inbox that the directory has. No process may have it open.
///
/// # Panics
/// When the tables differ.
#[track_caller]
pub fn assert_replay_gives_inbox(data: &Path) {
    let live = inbox_rows(data).expect("the inbox of the service");
    let copy = copy_of(data);
    cli::stdout_of(copy.path(), &["rebuild", "inbox"]);
    let replayed = inbox_rows(copy.path()).expect("the inbox of the replay");
    assert_eq!(live, replayed, "the service's inbox, and the inbox of a replay");
}

/// The number of the inbox's tables that serve.
///
/// # Errors
/// When there are none yet.
pub fn inbox_generation(views: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT number FROM generations WHERE projection = 'inbox' AND state = 1";
    views.query_row(sql, [], |row| row.get(0))
}

/// The rows of the inbox that serves: its sessions, then their users.
///
/// # Errors
/// When no tables serve yet.
pub fn inbox_rows(data: &Path) -> rusqlite::Result<[TableRows; 2]> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let views = Connection::open_with_flags(data.join("views.db"), flags)?;
    let number = inbox_generation(&views)?;
    Ok([rows_of(&views, &format!("inbox_{number}"))?, rows_of(&views, &format!("inbox_users_{number}"))?])
}

fn rows_of(views: &Connection, table: &str) -> rusqlite::Result<TableRows> {
    let mut statement = views.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2, 3"))?;
    let width = statement.column_count();
    let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect())?;
    rows.collect()
}

/// A copy of a data directory.
#[must_use]
pub fn copy_of(data: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    share_log(data, copy.path());
    for entry in fs::read_dir(data).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    copy
}
