//! What every part of the service works with: the settings, the log, the clock and the tenants.

use std::{path::Path, sync::Arc, time::Duration};

use amoiq_actors::tenants::TenantRegistry;
use amoiq_events::{Ambient, EventLog, EventStore, store::sqlite::SqliteStore};
use anyhow::Context;

use super::demo_tenant;
use crate::config::Config;

/// How long a start waits for another process that holds the store: a service that is stopping, or `amoiq rebuild`.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// What every part of the service works with.
pub(super) struct CoreServices {
    pub(super) config: Config,
    /// The log, with what only SQLite offers: its counters, and closing it.
    pub(super) database: Arc<SqliteStore>,
    /// The same log with its maintenance: for those who remove events or ask for its health.
    pub(super) store: Arc<dyn EventStore>,
    /// The same log, for those who append and read.
    pub(super) log: Arc<dyn EventLog>,
    pub(super) ambient: Ambient,
    pub(super) registry: Arc<TenantRegistry>,
}

impl CoreServices {
    /// Reads the tenants from the log. The configured ones may not be among them yet.
    pub(super) async fn load(
        config: Config,
        database: Arc<SqliteStore>,
        ambient: Ambient,
    ) -> anyhow::Result<Self> {
        let registry = TenantRegistry::load(&*database, demo_tenant::is_allowed(config.server.bind)).await?;
        let (store, log) = (Arc::clone(&database) as _, Arc::clone(&database) as _);
        Ok(Self { config, database, store, log, ambient, registry: Arc::new(registry) })
    }

    /// The data directory.
    pub(super) fn data_directory(&self) -> &Path {
        &self.config.store.path
    }
}

/// Opens the log in the data directory.
pub(super) fn open_log(directory: &Path, ambient: &Ambient) -> anyhow::Result<Arc<SqliteStore>> {
    let opened = SqliteStore::open_within(directory, ambient, LOCK_TIMEOUT);
    Ok(Arc::new(opened.with_context(|| format!("store.path {}", directory.display()))?))
}
