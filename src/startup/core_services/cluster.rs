//! This node's part among those that share a log: its membership, its leases, and where webhook deliveries are recorded.
//!
//! With the log in the data directory there is one node: it has every lease, and deliveries are in `outbox.db`. With a
//! PostgreSQL, which has the log or stands beside one in KurrentDB, both are there, so that another node can take over.

use std::{path::Path, sync::Arc};

use amoiq_actors::webhooks::DeliveryStore;
use amoiq_events::{
    Ambient, EventLog, Position,
    cluster::{ClusterLeases, ClusterOptions, LEASE_TERM, NodeDescription, PostgresLeases, SingleNode},
    postgres::{PostgresDatabase, PostgresOptions},
    signals::{PostgresSignals, SignalExchange, SignalOptions},
};
use anyhow::Context;

use super::open_log;
use crate::{
    config::{Config, StoreBackend},
    startup::jwt_secrets::TokenSecrets,
};

/// Rises with each release that writes what earlier ones do not read.
const RELEASE_LEVEL: u32 = 1;

/// A node that has joined, and does no work yet.
pub(in crate::startup) struct JoinedNode {
    pub(in crate::startup) leases: Arc<dyn ClusterLeases>,
    name: Arc<str>,
    /// Where nodes share what is not in the log, and the setting that names it.
    shared: Option<(&'static str, PostgresDatabase)>,
}

impl JoinedNode {
    /// Joins: before the first append, because whatever is appended from now on goes to every endpoint. A database that the
    /// log has opened knows which servers were replaced.
    ///
    /// # Errors
    /// When another node has the same name or other secrets, or a database cannot be used; the text says what to do.
    pub(in crate::startup) fn join(
        config: &Config,
        log: &dyn EventLog,
        opened: Option<PostgresDatabase>,
        secrets: &TokenSecrets,
        ambient: &Ambient,
    ) -> anyhow::Result<Self> {
        let node = describe(config, secrets);
        let name = Arc::clone(&node.name);
        let Some((setting, database)) = shared_database(config) else {
            let leases = Arc::new(SingleNode::new(node, log.epoch(), ambient));
            return Ok(Self { leases, name, shared: None });
        };
        let database = opened.map_or_else(|| PostgresDatabase::open(&database), Ok).context(setting)?;
        let options = ClusterOptions {
            database: database.on_own_thread().context(setting)?,
            node,
            epoch: log.epoch(),
            directory: config.store.path.clone(),
            ambient: ambient.clone(),
            term: LEASE_TERM,
        };
        let leases = Arc::new(PostgresLeases::open(options).context("cluster.node")?);
        Ok(Self { leases, name, shared: Some((setting, database)) })
    }
}

/// What a node shares with others.
pub(in crate::startup) struct NodeServices {
    pub(in crate::startup) leases: Arc<dyn ClusterLeases>,
    pub(in crate::startup) deliveries: DeliveryStore,
    /// Who is online on other nodes, where there may be others.
    pub(in crate::startup) signals: Option<Arc<dyn SignalExchange>>,
}

impl NodeServices {
    /// Opens what nodes share.
    ///
    /// # Errors
    /// When a database cannot be used; the text says what to do.
    pub(in crate::startup) async fn open(
        JoinedNode { leases, name, shared }: JoinedNode,
        data: &Path,
        log: &dyn EventLog,
    ) -> anyhow::Result<Self> {
        let services = match shared {
            None => Self { leases, deliveries: open_outbox(data, log)?, signals: None },
            Some((setting, database)) => {
                let signals = SignalOptions {
                    database: database.on_own_thread().context(setting)?,
                    node: name,
                    view: leases.view(),
                };
                let signals = PostgresSignals::open(signals).context(setting)?;
                let deliveries = DeliveryStore::shared(database).context(setting)?;
                Self { leases, deliveries, signals: Some(Arc::new(signals)) }
            }
        };
        let followed = services.deliveries.epoch().await?;
        let common = followed.map_or(log.head(), |epoch| log.common_with(epoch));
        services.deliveries.adopt(log.epoch(), common).await?;
        Ok(services)
    }
}

/// The database through which nodes share what is not in the log, and the setting that names it.
pub(crate) fn shared_database(config: &Config) -> Option<(&'static str, PostgresOptions)> {
    match config.store.backend {
        StoreBackend::Sqlite => None,
        StoreBackend::Postgres => Some(("store.url", open_log::postgres_options(&config.store))),
        StoreBackend::Kurrentdb => {
            let address = config.cluster.postgres.expose();
            let options = PostgresOptions {
                schema: config.store.schema.clone(),
                may_be_lost: config.store.accept_data_loss,
                ..PostgresOptions::new(address)
            };
            (!address.is_empty()).then_some(("cluster.postgres", options))
        }
    }
}

fn describe(config: &Config, secrets: &TokenSecrets) -> NodeDescription {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = Some(config.cluster.node.clone()).filter(|name| !name.is_empty());
    NodeDescription {
        name: name.unwrap_or_else(host).into(),
        address: config.server.bind.to_string(),
        level: RELEASE_LEVEL,
        signing: secrets.signing(),
        verifying: secrets.verifying(),
    }
}

/// Opens the deliveries of the only node.
fn open_outbox(data: &Path, log: &dyn EventLog) -> anyhow::Result<DeliveryStore> {
    let file = data.join("outbox.db");
    // It is created before the first event.
    let is_gone = !file.try_exists()? && log.head() > Position::START;
    let outbox = DeliveryStore::open(&file)?;
    if is_gone {
        tracing::warn!(
            "outbox.db is gone: a new one is created, and every endpoint receives everything since its registration \
             again, under the same ids"
        );
    }
    Ok(outbox)
}
