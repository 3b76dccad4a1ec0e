//! Opens the log that the settings name.

use std::{path::Path, sync::Arc, time::Duration};

use amoiq_events::{
    Ambient,
    postgres::PostgresDatabase,
    store::{
        OpenedStore,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::{DirectoryLock, SqliteStore},
    },
};
use anyhow::{Context, ensure};

use super::kurrent_log;
use crate::config::{StoreBackend, StoreConfig};

/// The log, and the data directory, which belongs to this process as long as this exists.
pub(crate) struct LogOpening {
    pub(crate) log: Arc<dyn OpenedStore>,
    /// The PostgreSQL that the log is in, for what nodes share beside it.
    pub(crate) shared: Option<PostgresDatabase>,
    /// The SQLite log holds the lock of its directory itself.
    pub(crate) lock: Option<DirectoryLock>,
}

/// Opens the log. Waits for another process that holds the data directory: a service that is stopping, or a command.
///
/// # Errors
/// When the directory is held longer than `patience`, or the log cannot be opened; the text says what to do.
pub(crate) fn open_log(
    store: &StoreConfig,
    ambient: &Ambient,
    patience: Duration,
) -> anyhow::Result<LogOpening> {
    let path = || format!("store.path {}", store.path.display());
    match store.backend {
        StoreBackend::Sqlite => {
            let log = SqliteStore::open_within(&store.path, ambient, patience).with_context(path)?;
            Ok(LogOpening { log: Arc::new(log), shared: None, lock: None })
        }
        StoreBackend::Postgres | StoreBackend::Kurrentdb => {
            let lock = DirectoryLock::take_within(&store.path, patience).with_context(path)?;
            refuse_own_log(&store.path).with_context(path)?;
            let (log, shared) = open_database(store, ambient)?;
            Ok(LogOpening { log, shared, lock: Some(lock) })
        }
    }
}

/// A log in a database, and that database if it can have what nodes share beside the log.
fn open_database(
    store: &StoreConfig,
    ambient: &Ambient,
) -> anyhow::Result<(Arc<dyn OpenedStore>, Option<PostgresDatabase>)> {
    if store.backend == StoreBackend::Kurrentdb {
        return Ok((kurrent_log::open(store, ambient).context("store.backend = kurrentdb")?, None));
    }
    let log = PostgresStore::open(&postgres_options(store), ambient).context("store.url")?;
    let shared = log.database().context("store.url")?;
    Ok((Arc::new(log), Some(shared)))
}

/// Which database the settings name.
pub(crate) fn postgres_options(store: &StoreConfig) -> PostgresOptions {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    PostgresOptions {
        user: given(&store.user),
        password: given(store.password.expose()),
        schema: store.schema.clone(),
        may_be_lost: store.accept_data_loss,
        directory: Some(store.path.clone()),
        ..PostgresOptions::new(store.url.expose())
    }
}

/// A directory with a log of its own belongs to another service: nobody would see its messages.
fn refuse_own_log(directory: &Path) -> anyhow::Result<()> {
    let own = directory.join("log.db");
    ensure!(
        !own.try_exists()?,
        "it contains a log, {}, which a log in a database would leave unread: use another directory",
        own.display()
    );
    Ok(())
}
