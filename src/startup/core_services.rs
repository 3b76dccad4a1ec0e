//! What every part of the service works with: the settings, the log, the clock and the tenants.

pub(crate) mod cluster;
pub(crate) mod kurrent_log;
pub(crate) mod open_log;

use std::{path::Path, sync::Arc};

use amoiq_actors::tenants::{TenantFollower, TenantNews, TenantRegistry};
use amoiq_events::{Ambient, EventLog, EventStore, store::OpenedStore};

use self::cluster::{JoinedNode, NodeServices};
use super::{demo_tenant, jwt_secrets::TokenSecrets};
use crate::config::Config;

/// What every part of the service works with.
pub(super) struct CoreServices {
    pub(super) config: Config,
    /// The log with its counters, for whoever closes it.
    pub(super) opened: Arc<dyn OpenedStore>,
    /// The same log with its maintenance: for those who remove events or ask for its health.
    pub(super) store: Arc<dyn EventStore>,
    /// The same log, for those who append and read.
    pub(super) log: Arc<dyn EventLog>,
    pub(super) ambient: Ambient,
    pub(super) registry: Arc<TenantRegistry>,
    /// What other nodes change of them.
    pub(super) tenant_news: Option<Arc<TenantNews>>,
    pub(super) secrets: TokenSecrets,
    pub(super) node: NodeServices,
}

impl CoreServices {
    /// Opens what the nodes share, completes erasures that were interrupted, and reads the tenants from the log. The
    /// configured ones may not be among them yet.
    pub(super) async fn load(
        config: Config,
        opened: Arc<dyn OpenedStore>,
        ambient: Ambient,
        secrets: TokenSecrets,
        joined: JoinedNode,
    ) -> anyhow::Result<Self> {
        let node = NodeServices::open(joined, &config.store.path, &*opened).await?;
        amoiq_actors::erasure::finish_erasures(&*opened).await?;
        let (store, log): (Arc<dyn EventStore>, Arc<dyn EventLog>) = (opened.clone(), opened.clone());
        // Before the registry is read: what another node changes meanwhile is in one of both.
        let from = log.head();
        let registry = TenantRegistry::load(&*store, demo_tenant::is_allowed(config.server.bind)).await?;
        let registry = Arc::new(registry);
        let tenant_news = TenantFollower::start(&registry, &log, from).map(Arc::new);
        Ok(Self { config, opened, store, log, ambient, registry, tenant_news, secrets, node })
    }

    /// The data directory.
    pub(super) fn data_directory(&self) -> &Path {
        &self.config.store.path
    }
}
