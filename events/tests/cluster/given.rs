//! Nodes in this process, and what tests wait for.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use amoiq_events::{
    Ambient,
    cluster::{
        ClusterLeases, ClusterOpenError, ClusterOptions, HeldLease, LeaseName, NodeDescription,
        PostgresLeases,
    },
    postgres::{PostgresDatabase, PostgresOptions},
    store::Epoch,
};
use amoiq_testkit::PostgresServer;
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A term that a busy machine does not exceed by itself.
pub(crate) const TERM: Duration = Duration::from_secs(3);

/// A cluster without nodes: a schema of a server.
#[derive(Clone)]
pub(crate) struct GivenCluster {
    pub(crate) database: PostgresOptions,
}

/// A node of this process.
pub(crate) struct GivenNode {
    pub(crate) leases: PostgresLeases,
    pub(crate) directory: TempDir,
}

impl GivenCluster {
    pub(crate) fn new() -> Self {
        Self::on(PostgresServer::shared())
    }

    pub(crate) fn on(server: &PostgresServer) -> Self {
        Self {
            database: PostgresOptions {
                schema: server.new_schema(),
                ..PostgresOptions::new(&server.address())
            },
        }
    }

    /// The same through another address.
    pub(crate) fn through(&self, address: String) -> Self {
        Self { database: PostgresOptions { address, ..self.database.clone() } }
    }

    /// Its database, on a thread that may block.
    pub(crate) fn open(&self) -> PostgresDatabase {
        tokio::task::block_in_place(|| PostgresDatabase::open(&self.database)).expect("the database")
    }

    pub(crate) fn options(&self, name: &str, directory: &Path) -> ClusterOptions {
        ClusterOptions {
            database: self.open(),
            node: description(name),
            epoch: Epoch(7),
            directory: directory.to_owned(),
            ambient: Ambient::system(),
            term: TERM,
        }
    }

    /// A node of this name in a directory of its own, which can do work.
    pub(crate) fn join(&self, name: &str) -> GivenNode {
        let node = self.enter(name);
        node.leases.serve();
        node
    }

    /// One that cannot do work yet.
    pub(crate) fn enter(&self, name: &str) -> GivenNode {
        let directory = tempfile::tempdir().expect("a directory");
        let leases = try_join(self.options(name, directory.path())).expect("joined");
        GivenNode { leases, directory }
    }
}

impl GivenNode {
    /// Asks for one lease.
    pub(crate) async fn ask(&self, name: &str) -> Option<HeldLease> {
        within(self.leases.acquire(vec![lease(name)])).await.ok()?.pop()
    }

    /// Asks for a lease until it is granted.
    pub(crate) async fn ask_until_granted(&self, name: &str) -> HeldLease {
        let granting = async {
            loop {
                if let Some(lease) = self.ask(name).await {
                    return lease;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(granting).await
    }

    /// The names of the nodes that it sees and that can do work.
    pub(crate) fn sees(&self) -> Vec<Arc<str>> {
        let view = self.leases.view();
        let nodes = &view.borrow().nodes;
        nodes.iter().filter(|node| node.serves).map(|node| Arc::clone(&node.description.name)).collect()
    }
}

/// Joins, on a thread that may block.
pub(crate) fn try_join(options: ClusterOptions) -> Result<PostgresLeases, ClusterOpenError> {
    tokio::task::block_in_place(|| PostgresLeases::open(options))
}

pub(crate) fn description(name: &str) -> NodeDescription {
    NodeDescription {
        name: name.into(),
        address: format!("{name}.example.com"),
        level: 1,
        signing: "secret".to_owned(),
        verifying: vec!["secret".to_owned()],
    }
}

pub(crate) fn lease(name: &str) -> LeaseName {
    LeaseName::new("test", name)
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("done before the deadline")
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    tokio::task::block_in_place(|| amoiq_testkit::eventually(what, condition));
}
