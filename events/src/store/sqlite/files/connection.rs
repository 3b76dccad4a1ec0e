//! How a database file is opened for reading.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

/// How long a connection waits for another's lock before it gives up.
pub(in crate::store::sqlite) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a connection that only reads.
pub(in crate::store::sqlite) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}
