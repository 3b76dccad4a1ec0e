//! The backend on which the tests of the service run: SQLite, or what `AMOIQ_TEST_STORE` names.
//!
//! With `postgres` and `kurrentdb`, every data directory has a log of its own in the server that the tests of a process
//! share. `AMOIQ_TEST_KURRENTDB` names a real one for the second.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

use super::postgres_server::PostgresServer;

/// What the log of each data directory is called in the server.
static LOGS: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// A backend.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TestedStore {
    Sqlite,
    Postgres,
    Kurrentdb,
}

impl TestedStore {
    fn chosen() -> Self {
        match env::var("AMOIQ_TEST_STORE").as_deref() {
            Err(_) | Ok("" | "sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok("kurrentdb") => Self::Kurrentdb,
            Ok(other) => panic!("AMOIQ_TEST_STORE is `{other}`, and must be sqlite, postgres or kurrentdb"),
        }
    }

    /// A name for a log that nobody has used.
    fn new_log(self) -> String {
        match self {
            Self::Kurrentdb => kurrent::new_log(),
            _ => PostgresServer::shared().new_schema(),
        }
    }
}

/// The settings, as environment variables, that lead to the log of a data directory.
///
/// # Panics
/// When `AMOIQ_TEST_STORE` names no backend.
#[must_use]
pub fn store_settings(data: &Path) -> Vec<(&'static str, String)> {
    let store = TestedStore::chosen();
    let (backend, url) = match store {
        TestedStore::Sqlite => return Vec::new(),
        TestedStore::Postgres => ("postgres", PostgresServer::shared().address()),
        TestedStore::Kurrentdb => ("kurrentdb", kurrent::address()),
    };
    let mut logs = LOGS.lock().expect("a lock");
    let log = logs.entry(data.to_owned()).or_insert_with(|| store.new_log()).clone();
    vec![
        ("AMOIQ__STORE__BACKEND", backend.to_owned()),
        ("AMOIQ__STORE__URL", url),
        ("AMOIQ__STORE__SCHEMA", log),
    ]
}

/// Gives a directory the log of another: the copy of a data directory has the same.
pub(crate) fn share_log(data: &Path, copy: &Path) {
    let mut logs = LOGS.lock().expect("a lock");
    if let Some(log) = logs.get(data).cloned() {
        logs.insert(copy.to_owned(), log);
    }
}

#[cfg(feature = "kurrentdb")]
mod kurrent {
    use std::env;

    use crate::KurrentServer;

    /// A real server, or that of this process.
    pub(super) fn address() -> String {
        env::var("AMOIQ_TEST_KURRENTDB").unwrap_or_else(|_not_set| KurrentServer::shared().address())
    }

    pub(super) fn new_log() -> String {
        KurrentServer::new_log()
    }
}

#[cfg(not(feature = "kurrentdb"))]
mod kurrent {
    const NOT_BUILT: &str =
        "AMOIQ_TEST_STORE=kurrentdb needs tests that were built with --features kurrentdb";

    pub(super) fn address() -> String {
        panic!("{NOT_BUILT}")
    }

    pub(super) fn new_log() -> String {
        panic!("{NOT_BUILT}")
    }
}
