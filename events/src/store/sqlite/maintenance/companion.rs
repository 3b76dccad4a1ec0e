//! A database beside the log, as verification, backup and restore of a data directory see it.
//!
//! This crate does not know its tables. The crate that owns it says what to compare with the log
//! ([`CompanionDatabase::verify`]); the checksums of its rows, copying, packing and restoring are the same for all.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::{
    Position, StreamName,
    store::{
        Epoch,
        sqlite::{
            DefectKind, OpenError, StoreVerification,
            files::{row_checksum, row_seal, sql},
            reading::read_only,
            tables::schema,
        },
    },
};

/// A database beside the log.
#[derive(Debug, Clone, Copy)]
pub struct CompanionDatabase {
    /// Its file's name without `.db`.
    pub name: &'static str,
    /// How a backup, which has its tables under the prefix `{name}_`, announces that it copies them. `None` for a database
    /// that is rebuilt from the log: no backup contains it.
    pub copying: Option<&'static str>,
    /// What operators should do about damage.
    pub advice: &'static str,
    /// Compares it with the log. Errors are reported as damage.
    pub verify: fn(&mut CompanionCheck<'_>) -> rusqlite::Result<()>,
}

impl CompanionDatabase {
    /// Its file in a data directory.
    #[must_use]
    pub fn file(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.db", self.name))
    }

    /// The prefix of its tables' names in a backup.
    pub(in crate::store::sqlite) fn packed_prefix(&self) -> String {
        format!("{}_", self.name)
    }

    pub(in crate::store::sqlite) fn kind(&self) -> DefectKind {
        DefectKind::Companion { is_backed_up: self.copying.is_some(), name: self.name, advice: self.advice }
    }
}

/// A check of one database against the log.
pub struct CompanionCheck<'a> {
    /// The database; if it is in a backup, the backup's file.
    pub database: &'a Connection,
    /// The prefix of its tables' names: empty in its own file.
    pub prefix: &'a str,
    /// The log that it has to match.
    pub log: &'a dyn LogFacts,
    companion: CompanionDatabase,
    found: &'a mut StoreVerification,
}

impl CompanionCheck<'_> {
    /// Reports that something does not match.
    pub fn defect(&mut self, position: Position, what: &str) {
        let what = format!("{}.db: {what}", self.companion.name);
        self.found.defect(self.companion.kind(), position, "", what);
    }

    /// Reports something unusual that is not damage.
    pub fn note(&mut self, note: &str) {
        self.found.note(format!("{}.db {note}", self.companion.name));
    }

    /// Checks every row of every table that carries checksums.
    ///
    /// # Errors
    /// When SQLite cannot read a table.
    pub fn check_rows(&mut self) -> rusqlite::Result<()> {
        for table in self.tables()? {
            let mut statement = self.database.prepare(&format!("SELECT * FROM {}", sql::quoted(&table)))?;
            if statement.column_names().last() != Some(row_checksum::COLUMN) {
                continue;
            }
            let mut rows = statement.query([])?;
            let mut number = 0;
            while let Some(row) = rows.next()? {
                number += 1;
                if !row_checksum::is_whole(row)? {
                    self.defect(
                        Position::START,
                        &format!("row {number} of `{table}` is not what was written"),
                    );
                }
            }
        }
        Ok(())
    }

    fn tables(&self) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1 \
                   ORDER BY name";
        self.database.prepare(sql)?.query_map([self.prefix], |row| row.get(0))?.collect()
    }
}

/// What the check of a database beside the log may ask about the log. Each fails when the log cannot be read.
pub trait LogFacts {
    /// The history; `None` if that is damaged, which is reported elsewhere.
    fn epoch(&self) -> Option<Epoch>;

    /// The end of the log.
    #[expect(clippy::missing_errors_doc, reason = "the trait says it")]
    fn head(&self) -> rusqlite::Result<Position>;

    /// Up to here events may have been removed.
    #[expect(clippy::missing_errors_doc, reason = "the trait says it")]
    fn removed_up_to(&self) -> rusqlite::Result<Position>;

    /// The bytes of the id of the event at a position.
    #[expect(clippy::missing_errors_doc, reason = "the trait says it")]
    fn event_id_at(&self, position: Position) -> rusqlite::Result<Option<Vec<u8>>>;

    /// Whether a stream has an event of a type whose data contain a text. This may read all of the log.
    #[expect(clippy::missing_errors_doc, reason = "the trait says it")]
    fn has_event(&self, stream: &StreamName, kind: &str, text: &str) -> rusqlite::Result<bool>;
}

/// A log in a file of SQLite.
struct FileFacts<'a>(&'a Connection);

impl LogFacts for FileFacts<'_> {
    fn epoch(&self) -> Option<Epoch> {
        schema::meta(self.0, "epoch").ok().map(Epoch)
    }

    fn head(&self) -> rusqlite::Result<Position> {
        read_only::head(self.0)
    }

    fn removed_up_to(&self) -> rusqlite::Result<Position> {
        schema::meta(self.0, "floor").map(Position::from_u64)
    }

    fn event_id_at(&self, position: Position) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut statement = self.0.prepare_cached("SELECT id FROM log WHERE position = ?1")?;
        statement.query_row([position], |row| row.get(0)).optional()
    }

    fn has_event(&self, stream: &StreamName, kind: &str, text: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM log WHERE stream = ?1 AND type = ?2 \
                   AND instr(CAST(data AS TEXT), ?3) > 0)";
        self.0.query_row(sql, (stream.as_str(), kind, text), |row| row.get(0))
    }
}

/// Checks the files of these databases that are in a directory.
pub(in crate::store::sqlite) fn check_files(
    directory: &Path,
    companions: &[CompanionDatabase],
    log: &dyn LogFacts,
    found: &mut StoreVerification,
) {
    for companion in companions {
        let path = companion.file(directory);
        if !path.exists() {
            continue;
        }
        match read_only::open_database(&path) {
            Ok(database) => {
                found.check_pages(&database, &format!("{}.db", companion.name), companion.kind());
                run(*companion, &database, "", log, found);
            }
            Err(error) => {
                let what = format!("{}.db: {}", companion.name, words(error));
                found.defect(companion.kind(), Position::START, "", what);
            }
        }
    }
}

/// Checks the files of these databases beside a log that is a file too.
pub(in crate::store::sqlite) fn check_beside(
    directory: &Path,
    companions: &[CompanionDatabase],
    log: &Connection,
    found: &mut StoreVerification,
) {
    check_files(directory, companions, &FileFacts(log), found);
}

/// Checks the databases in a backup's file. Any other file contains none.
pub(in crate::store::sqlite) fn check_packed(
    file: &Connection,
    companions: &[CompanionDatabase],
    found: &mut StoreVerification,
) {
    for companion in companions.iter().filter(|companion| companion.copying.is_some()) {
        let prefix = companion.packed_prefix();
        let sql =
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1";
        let is_packed = file.query_row(sql, [&prefix], |row| row.get::<_, i64>(0));
        if is_packed.is_ok_and(|count| count > 0) {
            run(*companion, file, &prefix, &FileFacts(file), found);
        }
    }
}

fn run(
    companion: CompanionDatabase,
    database: &Connection,
    prefix: &str,
    log: &dyn LogFacts,
    found: &mut StoreVerification,
) {
    let mut check = CompanionCheck { database, prefix, log, companion, found };
    if let Err(error) = (companion.verify)(&mut check) {
        check.defect(Position::START, &row_seal::reason(&error));
    }
}

/// Why a file cannot be opened, without the advice for the log.
fn words(error: OpenError) -> String {
    match error {
        OpenError::Database(error) => error.to_string(),
        other => other.to_string(),
    }
}
