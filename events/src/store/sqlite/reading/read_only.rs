//! The log as it is in its files: read beside a running service, or without one, and never changed.
//!
//! Nothing is locked, and every read is a short transaction of its own, so a running service does not notice. SQLite shares
//! a write-ahead log through the file `log.db-shm`, which it opens for writing and creates if it does not exist. If it may
//! not (the directory cannot be written to), the database is read as one file, which is right only while there is no
//! write-ahead log: with one, opening is refused.

use std::{
    ops::Bound,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
    store::{
        AppendError, AppendReceipt, Epoch, EventLog, ExpectedVersion, LogMaintenance, LogSubscription,
        ReadDirection, ReadError, StoreFuture, StoreHealth,
        dense_positions::{count, within},
        feed::LogFeed,
        sqlite::{
            OpenError,
            files::{connection, write_ahead},
            ready,
            tables::{
                event_query::{self, StreamRange},
                index_build, schema, seek,
                stream_index::StreamHeads,
            },
        },
    },
};

/// The log, for reading only. Events that are appended after it was opened are in [`EventLog::read_all`], but not in
/// [`EventLog::read_stream`].
pub struct ReadOnlyStore {
    conn: Arc<Mutex<Connection>>,
    heads: Arc<StreamHeads>,
    feed: LogFeed,
    epoch: Epoch,
}

impl ReadOnlyStore {
    /// Opens the log of a data directory, or a backup's file.
    ///
    /// # Errors
    /// An [`OpenError`], whose text says what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_file(path).map_err(|error| error.judged(&log_file(path)))
    }

    fn open_file(path: &Path) -> Result<Self, OpenError> {
        let conn = open(&log_file(path))?;
        let heads = {
            // One transaction for the index and the events that it lacks: a service may write both meanwhile.
            let _snapshot = conn.unchecked_transaction()?;
            index_build::index_in_memory(&conn)?
        };
        let epoch = Epoch(schema::meta(&conn, "epoch")?);
        let head = head(&conn)?;
        let conn = Arc::new(Mutex::new(conn));
        let shared = Arc::clone(&conn);
        let read = move |after, limit| ready(event_query::read_all(&lock(&shared), after, limit));
        Ok(Self { conn, heads, feed: LogFeed::new(head, Arc::new(read)), epoch })
    }
}

impl EventLog for ReadOnlyStore {
    fn append(
        &self,
        _stream: StreamName,
        _expected: ExpectedVersion,
        _events: Vec<NewEvent>,
    ) -> StoreFuture<Result<AppendReceipt, AppendError>> {
        ready(Err(refused()))
    }

    fn read_stream(
        &self,
        stream: StreamName,
        from: Version,
        direction: ReadDirection,
        limit: usize,
    ) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        let range = StreamRange { from, direction, limit };
        ready(event_query::read_stream(&lock(&self.conn), &self.heads, &stream, range))
    }

    fn read_all(&self, after: Position, limit: usize) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
        ready(event_query::read_all(&lock(&self.conn), after, limit))
    }

    /// Returns the events that were there when the log was opened, and then ends.
    fn subscribe(&self, after: Position) -> LogSubscription {
        self.feed.subscribe(after)
    }

    fn event_at(&self, position: Position) -> StoreFuture<Result<Option<RecordedEvent>, ReadError>> {
        ready(event_query::event_at(&lock(&self.conn), position))
    }

    fn position_at(&self, time: Timestamp) -> StoreFuture<Result<Position, ReadError>> {
        let head = self.head();
        ready(seek::position_at(&lock(&self.conn), time, head))
    }

    fn newest_within(&self, bound: Bound<Position>) -> StoreFuture<Result<Position, ReadError>> {
        ready(Ok(within(bound, self.head())))
    }

    fn events_after(&self, position: Position) -> u64 {
        count(position, self.head())
    }

    fn head(&self) -> Position {
        head(&lock(&self.conn)).unwrap_or_else(|_unreadable| self.feed.head())
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn max_append_bytes(&self) -> usize {
        0
    }
}

impl LogMaintenance for ReadOnlyStore {
    fn streams(
        &self,
        prefix: &str,
        after: Option<StreamName>,
        limit: usize,
    ) -> StoreFuture<Result<Vec<StreamName>, ReadError>> {
        ready(event_query::streams(&lock(&self.conn), &self.heads, prefix, after.as_ref(), limit))
    }

    fn truncate(&self, _stream: StreamName, _before: Version) -> StoreFuture<Result<(), AppendError>> {
        ready(Err(refused()))
    }

    fn delete(&self, _stream: StreamName) -> StoreFuture<Result<(), AppendError>> {
        ready(Err(refused()))
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Failing("opened for reading only".to_owned())
    }
}

fn refused() -> AppendError {
    AppendError::Unavailable("opened for reading only".to_owned())
}

fn lock(conn: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    conn.lock()
}

/// The log of a data directory, or the file itself.
pub(in crate::store::sqlite) fn log_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("log.db") } else { path.to_owned() }
}

/// Where the log ends: positions up to there were given out.
pub(in crate::store::sqlite) fn head(conn: &Connection) -> rusqlite::Result<Position> {
    let floor = Position::from_u64(schema::meta(conn, "floor")?);
    Ok(event_query::last_position(conn)?.max(floor))
}

/// Opens a log for reading. Refuses one of another release, and a file that is not a log.
pub(in crate::store::sqlite) fn open(path: &Path) -> Result<Connection, OpenError> {
    let conn = open_database(path)?;
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = number("user_version")?;
    if found == schema::SCHEMA_VERSION {
        return Ok(conn);
    }
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'log'";
    let logs: i64 = conn.query_row(sql, [], |row| row.get(0))?;
    Err(match (logs, number("page_count")?) {
        (0, 0) => OpenError::Empty(path.to_owned()),
        (0, _) => OpenError::Foreign(path.to_owned()),
        _ => OpenError::Schema { found, known: schema::SCHEMA_VERSION },
    })
}

/// Opens any database of a data directory for reading.
pub(in crate::store::sqlite) fn open_database(path: &Path) -> Result<Connection, OpenError> {
    if !path.try_exists()? {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let conn = connection::open_reader(path)?;
    let looked = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
    match looked {
        Err(error) if needs_to_write(&error) && write_ahead::is_in_one_file(path) => as_one_file(path),
        Err(error) if needs_to_write(&error) => Err(OpenError::Unshared(path.to_owned())),
        looked => Ok(looked.map(|_| conn)?),
    }
}

fn needs_to_write(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn as_one_file(path: &Path) -> Result<Connection, OpenError> {
    let path = std::path::absolute(path)?;
    let uri = format!("file:{}?immutable=1", percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Ok(Connection::open_with_flags(uri, flags)?)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_database_is_read_as_one_file_under_any_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in [&b"a b%?.db"[..], b"odd\xff.db"] {
            let path = directory.path().join(OsStr::from_bytes(name));
            Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
            let conn = as_one_file(&path).unwrap();
            assert_eq!(conn.pragma_query_value(None, "user_version", |row| row.get(0)), Ok(7));
        }
    }
}
