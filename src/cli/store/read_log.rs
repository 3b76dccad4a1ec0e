//! The log that the settings name, opened for commands that only read it, or that fill it.

use std::sync::Arc;

use amoiq_events::{
    Ambient, EventStore,
    store::{
        Epoch,
        postgres::{PostgresStore, filling::PostgresFilling},
        sqlite::ReadOnlyStore,
        transfer::filling::LogFilling,
    },
};
use anyhow::Context;

use crate::{
    config::{StoreBackend, StoreConfig},
    startup::{kurrent_log, open_log::postgres_options},
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
        StoreBackend::Kurrentdb => {
            kurrent_log::open_existing(store, &Ambient::system()).context("store.backend = kurrentdb")?
        }
    })
}

/// Starts to fill the log in a database, or goes on with what an interrupted filling from the same source left.
///
/// # Errors
/// When there is a log already, or the database refuses; the text says what to do.
pub(super) fn begin_filling(
    store: &StoreConfig,
    source: Option<Epoch>,
) -> anyhow::Result<Box<dyn LogFilling>> {
    let ambient = Ambient::system();
    if store.backend == StoreBackend::Kurrentdb {
        return kurrent_log::begin_filling(store, &ambient, source);
    }
    Ok(Box::new(PostgresFilling::begin(&postgres_options(store), &ambient, source)?))
}

/// What to do to a log in a database in place of a command that works on files.
pub(super) struct DatabaseAdvice {
    pub(super) postgres: &'static str,
    pub(super) kurrentdb: &'static str,
}

/// Refuses a command on the files of a log that is in a database.
///
/// # Errors
/// When the log is in a database; the text says what to do in place of this.
pub(super) fn refuse_database(store: &StoreConfig, instead: &DatabaseAdvice) -> anyhow::Result<()> {
    let instead = match store.backend {
        StoreBackend::Sqlite => return Ok(()),
        StoreBackend::Postgres => instead.postgres,
        StoreBackend::Kurrentdb => instead.kurrentdb,
    };
    anyhow::bail!(
        "this command works on the files of store.backend = sqlite; the log is in a database: {instead}"
    )
}
