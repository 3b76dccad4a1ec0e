//! The tables, and the numbers that the store records about itself.

use rusqlite::{Connection, OptionalExtension};

use crate::store::sqlite::files::row_seal;

/// Written to a new database; a program refuses a database with another number.
pub(in crate::store::sqlite) const SCHEMA_VERSION: i64 = 2;

/// `log` is the truth and the only table on the hot path: it has no index except its key. `streams` and `marks` say where a
/// stream ends and where every 64th event of it is. They are written later than the log and can be rebuilt from it.
pub(in crate::store::sqlite) const LOG: &str = "
    CREATE TABLE log (
        position  INTEGER PRIMARY KEY,
        stream    TEXT    NOT NULL,
        version   INTEGER NOT NULL,
        previous  INTEGER NOT NULL, -- position of the stream's event before, 0 at its begin
        id        BLOB    NOT NULL,
        type      TEXT    NOT NULL,
        schema    INTEGER NOT NULL,
        time      INTEGER NOT NULL, -- milliseconds since 1970
        causation TEXT    NOT NULL,
        actor     TEXT    NOT NULL,
        data      BLOB    NOT NULL, -- JSON
        checksum  INTEGER NOT NULL  -- CRC-32C over all of the above
    );";

/// See [`row_seal`] for the checksums.
pub(in crate::store::sqlite) const INDEX: &str = "
    CREATE TABLE streams (
        name     TEXT PRIMARY KEY,
        version  INTEGER NOT NULL,
        position INTEGER NOT NULL,
        first    INTEGER NOT NULL, -- the version that reading ends at: higher than 1 after a truncation
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE marks (
        stream   TEXT    NOT NULL,
        mark     INTEGER NOT NULL, -- version / 64
        position INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (stream, mark)
    ) WITHOUT ROWID;
    CREATE TABLE meta (
        key      TEXT PRIMARY KEY,
        value    INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// The size of a page in a new database. A commit writes whole pages, and most of a busy log's commits are of a few events of
/// some 400 bytes: a larger page is mostly written again with what it had. A smaller one makes more pages of a large commit.
pub(in crate::store::sqlite) const PAGE_BYTES: u32 = 4_096;

/// A number that the store records about itself.
pub(in crate::store::sqlite) fn meta(conn: &Connection, key: &str) -> rusqlite::Result<u64> {
    let found = conn
        .prepare_cached("SELECT value, checksum FROM meta WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?)))
        .optional()?;
    let is_whole = |(value, checksum): &(u64, i64)| row_seal::of("meta", key, &[*value]) == *checksum;
    found.filter(is_whole).map(|(value, _)| value).ok_or_else(|| row_seal::broken("meta"))
}

/// Stores a number.
pub(in crate::store::sqlite) fn set_meta(conn: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value, checksum) VALUES (?1, ?2, ?3)")?
        .execute((key, value.cast_signed(), row_seal::of("meta", key, &[value])))?;
    Ok(())
}
