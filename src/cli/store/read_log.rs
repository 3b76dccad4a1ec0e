//! The log that the settings name, opened for commands that only read it.

use std::sync::Arc;

use amoiq_events::{
    EventStore,
    store::{postgres::PostgresStore, sqlite::ReadOnlyStore},
};
use anyhow::Context;

use crate::{
    config::{StoreBackend, StoreConfig},
    startup::open_log::postgres_options,
};

/// Opens the log. A service may run on it.
///
/// # Errors
/// When there is no log, or it cannot be read; the text says what to do.
pub(super) fn read_log(store: &StoreConfig) -> anyhow::Result<Arc<dyn EventStore>> {
    Ok(match store.backend {
        StoreBackend::Sqlite => Arc::new(ReadOnlyStore::open(&store.path)?),
        StoreBackend::Postgres => {
            let opened = PostgresStore::open_existing(&postgres_options(store));
            Arc::new(opened.context("store.url")?)
        }
    })
}

/// Refuses a command on the files of a log that is in a database.
///
/// # Errors
/// When the log is in a database; the text says what to do in place of this.
pub(super) fn refuse_database(store: &StoreConfig, instead: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        store.backend == StoreBackend::Sqlite,
        "this command works on the files of store.backend = sqlite; the log is in a database: {instead}"
    );
    Ok(())
}
