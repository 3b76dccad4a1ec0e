//! A store that is filled from elsewhere: all of it appears at once, or nothing does.
//!
//! It is made under other names in the directory that it is for, with that directory's lock held, and takes
//! its names once it verifies, the log's last. Until then the directory has a `log.db.new` and no log: no service
//! starts on it, and filling it may begin again. A directory that has a log is refused: nothing is overwritten.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{
    OpenError, Report, StoreVerification, lock, new_file::sync_folder, private, query, read_only, repair,
    schema, verify, witness::Witness,
};
use crate::{Ambient, Position, store::line::InvalidLine};

/// What the log is called until all of it is there.
const UNFINISHED: &str = "log.db.new";

/// Files that make a store. The others in a directory follow from them, or belong to the service.
const STORE: [&str; 5] = ["log.db", "log.db-wal", "log.db-shm", "outbox.db", "outbox.db-wal"];

/// Files of the store that was there before, and that the new one does not fit.
const STALE: [&str; 4] = ["log.witness", "views.db", "views.db-wal", "views.db-shm"];

/// What a database's file and those beside it are called behind its name.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Why a store was not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Nothing is overwritten.
    #[error("{} holds a store already: move it away first, nothing is overwritten", .0.display())]
    NotEmpty(PathBuf),
    /// Not what a backup makes.
    #[error("{} is not a backup of a store", .0.display())]
    NotABackup(PathBuf),
    /// A line that is no event.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// Why.
        reason: InvalidLine,
    },
    /// A line that does not follow the ones before it.
    #[error("line {line}: {what}")]
    Order {
        /// Counted from 1.
        line: u64,
        /// What does not fit.
        what: String,
    },
    /// Nothing was read.
    #[error("there is no event in what was read")]
    NoEvent,
    /// The last line is not the one that says how many there are.
    #[error(
        "no end line stands behind line {line}: the export failed, or its end was lost. An older release wrote none: import its lines with --without-end"
    )]
    NoEnd {
        /// The last one.
        line: u64,
    },
    /// What was filled in does not fit together.
    #[error("what was read does not verify ({} problems), so nothing was changed: use another backup", .0.problem_count())]
    Damaged(Box<StoreVerification>),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite refused.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A store in the making. What is left of it goes with it.
pub(super) struct Fresh {
    directory: PathBuf,
    pub(super) log: PathBuf,
    pub(super) outbox: PathBuf,
    _lock: File,
}

impl Fresh {
    pub(super) fn new(directory: &Path) -> Result<Self, FillError> {
        private::make_directory(directory)?;
        let lock = lock::take(directory)?;
        if is_unfinished(directory)? {
            remove(&directory.join("outbox.db"), &SUFFIXES);
        }
        for name in STORE {
            if directory.join(name).try_exists()? {
                return Err(FillError::NotEmpty(directory.to_owned()));
            }
        }
        let (log, outbox) = (directory.join(UNFINISHED), directory.join("outbox.db.new"));
        let fresh = Self { directory: directory.to_owned(), log, outbox, _lock: lock };
        fresh.remove();
        Ok(fresh)
    }

    /// Verifies what was made, and gives it its names.
    pub(super) fn finish(self, report: Report<'_>) -> Result<StoreVerification, FillError> {
        let verification = verify(&self.log, Position::START, report)?;
        if !verification.is_intact() {
            return Err(FillError::Damaged(Box::new(verification)));
        }
        let head = read_only::head(&read_only::open(&self.log)?)?;
        // Reading leaves them behind; empty, since the database is in its one file.
        remove(&self.log, &["-wal", "-shm"]);
        for name in STALE {
            drop(fs::remove_file(self.directory.join(name)));
        }
        self.take_names()?;
        let mut witness = Witness::open(&self.directory.join("log.witness"))?;
        witness.write(head)?;
        sync_folder(&self.directory.join("log.db"))?;
        Ok(verification)
    }

    /// The log last: what has its name is a store.
    fn take_names(&self) -> io::Result<()> {
        let has_outbox = self.outbox.try_exists()?;
        let (log, outbox) = (self.directory.join("log.db"), self.directory.join("outbox.db"));
        File::open(&self.log)?.sync_all()?;
        if has_outbox {
            File::open(&self.outbox)?.sync_all()?;
        }
        let place = || {
            if has_outbox {
                fs::rename(&self.outbox, &outbox)?;
                sync_folder(&outbox)?;
            }
            fs::rename(&self.log, log)
        };
        place().inspect_err(|_without_a_log| remove(&outbox, &[""]))
    }

    fn remove(&self) {
        for path in [&self.log, &self.outbox] {
            remove(path, &SUFFIXES);
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Refuses a directory whose log does not have its name yet.
pub(super) fn refuse_unfinished(directory: &Path) -> Result<(), OpenError> {
    if is_unfinished(directory)? { Err(OpenError::Unfinished(directory.to_owned())) } else { Ok(()) }
}

fn is_unfinished(directory: &Path) -> io::Result<bool> {
    Ok(directory.join(UNFINISHED).try_exists()? && !directory.join("log.db").try_exists()?)
}

fn remove(path: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // Mostly they are not there.
        drop(fs::remove_file(name));
    }
}

/// Makes the index of a stopped store again from its log. When the store does not know its epoch any more
/// it begins another.
///
/// # Errors
/// When a service has the store, or the log itself does not read.
pub fn repair_index(directory: &Path, ambient: &Ambient) -> Result<(), OpenError> {
    if !directory.join("log.db").try_exists()? {
        return Err(OpenError::Missing(directory.join("log.db")));
    }
    let _lock = lock::take(directory)?;
    let conn = schema::open_writer(&directory.join("log.db"), 0)?;
    let epoch = schema::meta(&conn, "epoch");
    // When nothing says up to where events were removed, none of the log is taken for lost.
    let floor = schema::meta(&conn, "floor");
    let floor = floor.or_else(|_damaged| query::last_position(&conn).map(Position::as_u64))?;
    conn.execute_batch("BEGIN IMMEDIATE; DELETE FROM meta WHERE key NOT IN ('epoch', 'indexed', 'floor')")?;
    schema::set_meta(&conn, "epoch", epoch.unwrap_or_else(|_damaged| u64::from_le_bytes(ambient.bytes())))?;
    schema::set_meta(&conn, "floor", floor)?;
    conn.execute_batch("COMMIT")?;
    repair::remake_index(&conn)
}
