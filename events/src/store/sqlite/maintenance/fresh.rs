//! A store that is filled from elsewhere: all of it appears at once, or nothing does.
//!
//! It is built under temporary names in its directory, with that directory's lock held. The files get their names once they
//! verify, the log last. Until then the directory has a `log.db.new` and no log: no service starts on it, and filling it may
//! start again. A directory that has a log is refused: nothing is overwritten.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    Ambient, Position,
    store::{
        Epoch,
        sqlite::{
            CompanionDatabase, OpenError, ProgressCallback, StoreFiles, StoreVerification,
            files::{new_file::sync_folder, private, row_seal},
            lock,
            reading::read_only,
            tables::{event_query, index_build, opening, schema},
            writing::witness::HeadWitness,
        },
        transfer::filling::FillingError,
    },
};

/// The log's name until all of it is there.
const UNFINISHED: &str = "log.db.new";

/// What an unfinished log remembers in `meta`: the epoch of the log that its events come from.
pub(super) const SOURCE: &str = "source";

/// The suffixes of a database's file and of those beside it.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Why a store was not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Nothing is overwritten.
    #[error("{} holds a store already: move it away first, nothing is overwritten", .0.display())]
    NotEmpty(PathBuf),
    /// The file is not a backup.
    #[error("{} is not a backup of a store", .0.display())]
    NotABackup(PathBuf),
    /// What was to be imported is not right.
    #[error(transparent)]
    Filling(#[from] FillingError),
    /// What was read does not verify.
    #[error("what was read does not verify ({} problems), so nothing was changed: use another backup", .0.problem_count())]
    Damaged(Box<StoreVerification>),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite refused.
    #[error("{}", row_seal::reason(.0))]
    Database(#[from] rusqlite::Error),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A store that is being built. Dropping it removes what is unfinished, unless that can be gone on with.
pub(in crate::store::sqlite) struct UnfinishedStore<'a> {
    files: StoreFiles<'a>,
    pub(in crate::store::sqlite) log: PathBuf,
    /// Whether what is unfinished stays, to be gone on with.
    pub(in crate::store::sqlite) keeps_files: bool,
    _lock: File,
}

impl<'a> UnfinishedStore<'a> {
    /// An empty one, or the one that was being filled from this source.
    pub(in crate::store::sqlite) fn new(
        files: StoreFiles<'a>,
        source: Option<Epoch>,
    ) -> Result<Self, FillError> {
        let directory = files.path;
        private::make_directory(directory)?;
        let lock = lock::take(directory)?;
        let kept = backed_up(files).map(|companion| companion.file(directory)).collect::<Vec<_>>();
        if is_unfinished(directory)? {
            kept.iter().for_each(|file| remove(file, &SUFFIXES));
        }
        let log = ["log.db", "log.db-wal", "log.db-shm"].map(|name| directory.join(name));
        let beside = kept.iter().flat_map(|file| [file.clone(), with_suffix(file, "-wal")]);
        for file in log.into_iter().chain(beside) {
            if file.try_exists()? {
                return Err(FillError::NotEmpty(directory.to_owned()));
            }
        }
        // Only from here on: a directory that is refused stays as it is.
        let keeps_files = source.is_some();
        let fresh = Self { files, log: directory.join(UNFINISHED), keeps_files, _lock: lock };
        if !source.is_some_and(|source| fresh.is_filled_from(source)) {
            fresh.remove();
        }
        Ok(fresh)
    }

    /// The databases that a backup contains, and the name of each until the whole store is there.
    pub(in crate::store::sqlite) fn backed_up(&self) -> impl Iterator<Item = (CompanionDatabase, PathBuf)> {
        let path = self.files.path;
        backed_up(self.files).map(move |companion| (companion, with_suffix(&companion.file(path), ".new")))
    }

    /// Verifies the files, and gives them their names.
    pub(in crate::store::sqlite) fn finish(
        self,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, FillError> {
        let verification = StoreFiles { path: &self.log, ..self.files }.verify(Position::START, report)?;
        if !verification.is_intact() {
            return Err(FillError::Damaged(Box::new(verification)));
        }
        let head = read_only::head(&read_only::open(&self.log)?)?;
        // Readers leave them; they are empty, since the database is in its one file.
        remove(&self.log, &["-wal", "-shm"]);
        let directory = self.files.path;
        // They belong to the previous store and do not match the new one.
        remove(&directory.join("log.witness"), &[""]);
        for companion in self.files.companions.iter().filter(|companion| companion.copying.is_none()) {
            remove(&companion.file(directory), &SUFFIXES);
        }
        self.take_names()?;
        let mut witness = HeadWitness::open(&directory.join("log.witness"))?;
        witness.write(head)?;
        sync_folder(&directory.join("log.db"))?;
        Ok(verification)
    }

    /// The log comes last: a directory with a `log.db` is a store.
    fn take_names(&self) -> io::Result<()> {
        File::open(&self.log)?.sync_all()?;
        let mut renamed = Vec::new();
        let mut rename_all = || {
            for (companion, made) in self.backed_up() {
                if !made.try_exists()? {
                    continue;
                }
                File::open(&made)?.sync_all()?;
                let file = companion.file(self.files.path);
                fs::rename(&made, &file)?;
                renamed.push(file.clone());
                sync_folder(&file)?;
            }
            fs::rename(&self.log, self.files.path.join("log.db"))
        };
        let ended = rename_all();
        if ended.is_err() {
            renamed.iter().for_each(|without_a_log| remove(without_a_log, &[""]));
        }
        ended
    }

    /// Whether the unfinished log has events of this source. One that cannot be read is started anew.
    fn is_filled_from(&self, source: Epoch) -> bool {
        let is_there = self.log.try_exists().unwrap_or_default();
        is_there
            && opening::open_writer(&self.log, 0)
                .and_then(|conn| Ok(schema::meta(&conn, SOURCE)?))
                .is_ok_and(|known| known == source.0)
    }

    fn remove(&self) {
        remove(&self.log, &SUFFIXES);
        self.backed_up().for_each(|(_, made)| remove(&made, &SUFFIXES));
    }
}

impl Drop for UnfinishedStore<'_> {
    fn drop(&mut self) {
        if !self.keeps_files {
            self.remove();
        }
    }
}

/// Refuses a directory in which a store is unfinished.
pub(in crate::store::sqlite) fn refuse_unfinished(directory: &Path) -> Result<(), OpenError> {
    if is_unfinished(directory)? { Err(OpenError::Unfinished(directory.to_owned())) } else { Ok(()) }
}

fn is_unfinished(directory: &Path) -> io::Result<bool> {
    Ok(directory.join(UNFINISHED).try_exists()? && !directory.join("log.db").try_exists()?)
}

fn backed_up(files: StoreFiles<'_>) -> impl Iterator<Item = CompanionDatabase> {
    files.companions.iter().copied().filter(|companion| companion.copying.is_some())
}

fn remove(path: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        // Usually they do not exist.
        drop(fs::remove_file(with_suffix(path, suffix)));
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Rebuilds the index of a stopped store from its log. If the store no longer knows its epoch, a new one starts.
///
/// # Errors
/// When a service has the store, or the log itself cannot be read.
pub fn repair_index(directory: &Path, ambient: &Ambient) -> Result<(), OpenError> {
    if !directory.join("log.db").try_exists()? {
        return Err(OpenError::Missing(directory.join("log.db")));
    }
    let _lock = lock::take(directory)?;
    let conn = opening::open_writer(&directory.join("log.db"), 0)?;
    let epoch = schema::meta(&conn, "epoch");
    // If it is unknown up to where events were removed, nothing in the log counts as lost.
    let floor = schema::meta(&conn, "floor");
    let floor = floor.or_else(|_damaged| event_query::last_position(&conn).map(Position::as_u64))?;
    conn.execute_batch("BEGIN IMMEDIATE; DELETE FROM meta WHERE key NOT IN ('epoch', 'indexed', 'floor')")?;
    schema::set_meta(&conn, "epoch", epoch.unwrap_or_else(|_damaged| u64::from_le_bytes(ambient.bytes())))?;
    schema::set_meta(&conn, "floor", floor)?;
    conn.execute_batch("COMMIT")?;
    index_build::remake_index(&conn)
}
