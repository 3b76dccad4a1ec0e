//! Leases and the register of nodes in PostgreSQL.
//!
//! A lease has no time of its own: it belongs to a node, and the node renews its membership, one row, however many leases
//! it has. Three rules keep two nodes from working under one lease:
//!
//! - *Expiry is judged by the database's clock*, and a node is removed only by one that was in contact with the database for
//!   a whole term: so after the database was away, stopped or set to another time, each node has a term to come back, and
//!   keeps everything.
//! - *A node stops by its own monotonic clock*, at two thirds of the term, counted from before it asked for the renewal.
//!   The date that it believes in plays no part.
//! - *A transaction under a lease checks its number*, and nobody gets the lease before the transaction has ended.
//!
//! After a node's death the others have its work within a term and a sixth, 10.5 s; after a start in the same directory at
//! once, because the process that had the directory before has ended.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use self::{
    lease_calls::{LeaseCalls, NodeJoining},
    lease_keeper::{LeaseKeeper, LeaseWork},
    predecessor::{MembershipNote, PredecessorFile},
};
use super::{
    lease::{HeldLease, LeaseError, LeaseName, LeaseRecord},
    leases::ClusterLeases,
    node::{ClusterView, NodeDescription},
};
use crate::{
    Ambient,
    postgres::{CallFailure, PostgresDatabase, PostgresOpenError, SchemaPart},
    store::{Epoch, StoreFuture},
};

mod lease_calls;
mod lease_keeper;
mod predecessor;

/// After how long without a renewal a node is taken for dead.
pub const LEASE_TERM: Duration = Duration::from_secs(9);

/// A membership is renewed this often within a term.
const RENEWALS: u32 = 6;

/// How many requests wait at the most.
const QUEUE: usize = 256;

/// How many terms a start waits for a node of the same name to be gone.
const NAME_PATIENCE: u32 = 2;

/// How often a start tries again to join when it gets no answer.
const LOST_ANSWERS: u32 = 3;

/// The tables and functions.
static CLUSTER_PART: SchemaPart =
    SchemaPart { name: "cluster", steps: &[&[include_str!("postgres_leases/cluster.sql")]] };

/// How a node joins.
#[derive(Clone)]
pub struct ClusterOptions {
    /// Where the register is.
    pub database: PostgresDatabase,
    /// What the node says of itself.
    pub node: NodeDescription,
    /// The history of the log that the node works on.
    pub epoch: Epoch,
    /// A directory that no other process has as long as this one runs. The node notes its membership in it.
    pub directory: PathBuf,
    /// For a token by which the process recognises its membership.
    pub ambient: Ambient,
    /// [`LEASE_TERM`]; tests have less time.
    pub term: Duration,
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum ClusterOpenError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] PostgresOpenError),
    /// Two nodes have one name.
    #[error(
        "a node of the name `{name}` is running at {address}: give each node a name of its own, or wait until that one has ended"
    )]
    NameTaken {
        /// The name.
        name: Arc<str>,
        /// Where the other says that it is.
        address: String,
    },
    /// A token that one node signs would be refused by another.
    #[error(
        "the node `{node}` and this one do not accept each other's tokens: put the secret that each signs with among the \
         secrets that all accept, on every node, and only then sign with a new one"
    )]
    SecretsDiffer {
        /// The other node.
        node: String,
    },
    /// The note about the membership cannot be read or written.
    #[error("{path}: {reason}", path = .0.display(), reason = .1)]
    Directory(PathBuf, std::io::Error),
}

impl From<CallFailure> for ClusterOpenError {
    fn from(failure: CallFailure) -> Self {
        Self::Database(failure.into())
    }
}

/// A node's part in a cluster. Dropping it ends its renewals; [`ClusterLeases::leave`] tells the others.
pub struct PostgresLeases {
    work: mpsc::Sender<LeaseWork>,
    view: watch::Receiver<Arc<ClusterView>>,
    _database: PostgresDatabase,
}

impl PostgresLeases {
    /// Joins. It blocks until the database has answered and no other node has the name.
    ///
    /// # Errors
    /// A [`ClusterOpenError`], whose text says what to do.
    pub fn open(options: ClusterOptions) -> Result<Self, ClusterOpenError> {
        let database = options.database.clone();
        let file = PredecessorFile::new(&options.directory);
        let predecessor = file.read()?;
        if let Some(server) = predecessor.and_then(|note| note.server) {
            database.sessions.seen.remember(server);
        }
        database.prepare(&CLUSTER_PART)?;
        let (work, waiting) = mpsc::channel(QUEUE);
        let (publish, view) = watch::channel(Arc::default());
        let joining = join(options, (file, predecessor), waiting, publish);
        let keeper = database.wait_for(joining)?;
        database.spawn(keeper.run());
        Ok(Self { work, view, _database: database })
    }

    /// Gives the keeper work and waits for its answer.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, LeaseError>>) -> LeaseWork,
    ) -> StoreFuture<Result<T, LeaseError>> {
        let (reply, answer) = oneshot::channel();
        let asked = self.work.try_send(work(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LeaseError::Unavailable("too much waits".to_owned()),
            mpsc::error::TrySendError::Closed(_) => LeaseError::NoMember,
        });
        Box::pin(async move {
            asked?;
            answer.await.unwrap_or(Err(LeaseError::NoMember))
        })
    }
}

/// Joins, as soon as a node of the same name is gone.
async fn join(
    options: ClusterOptions,
    (file, predecessor): (PredecessorFile, Option<MembershipNote>),
    work: mpsc::Receiver<LeaseWork>,
    view: watch::Sender<Arc<ClusterView>>,
) -> Result<LeaseKeeper, ClusterOpenError> {
    let predecessor = predecessor.map(|note| note.membership());
    let mut calls = LeaseCalls::new(&options);
    let (mut tries, mut lost_answers) = (RENEWALS * NAME_PATIENCE, 0);
    let membership = loop {
        let joined = match calls.join(&options.node, false, predecessor).await {
            // It may have joined. The token tells.
            Err(CallFailure::Broken(_)) if lost_answers < LOST_ANSWERS => {
                lost_answers += 1;
                continue;
            }
            joined => joined?,
        };
        match joined {
            NodeJoining::Joined(membership) => break membership,
            NodeJoining::NameTaken { address } if tries == 0 => {
                return Err(ClusterOpenError::NameTaken { name: options.node.name, address });
            }
            NodeJoining::NameTaken { address } => {
                if tries == RENEWALS * NAME_PATIENCE {
                    tracing::warn!(address, "waiting for the node of the same name to be gone");
                }
                tries -= 1;
                sleep(options.term / RENEWALS).await;
            }
            NodeJoining::SecretsDiffer { node } => return Err(ClusterOpenError::SecretsDiffer { node }),
        }
    };
    let noted = MembershipNote::new(membership.fencing(), calls.server());
    file.write(noted)?;
    let membership = Arc::new(membership);
    let (node, serves, is_draining) = (options.node, false, false);
    let mut keeper =
        LeaseKeeper { calls, node, file, noted, membership, serves, work, view, is_draining, failure: None };
    keeper.look().await?;
    Ok(keeper)
}

impl ClusterLeases for PostgresLeases {
    fn view(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.clone()
    }

    fn acquire(&self, names: Vec<LeaseName>) -> StoreFuture<Result<Vec<HeldLease>, LeaseError>> {
        self.ask(|reply| LeaseWork::Acquire(names, reply))
    }

    fn release(&self, leases: Vec<HeldLease>) -> StoreFuture<Result<(), LeaseError>> {
        leases.iter().for_each(HeldLease::give_up);
        self.ask(|reply| LeaseWork::Release(leases, reply))
    }

    fn leases(&self) -> StoreFuture<Result<Vec<LeaseRecord>, LeaseError>> {
        self.ask(LeaseWork::List)
    }

    fn serve(&self) {
        // Where the queue is full or closed, the node has no part in the cluster.
        if self.work.try_send(LeaseWork::Serve).is_err() {
            tracing::error!("the other nodes do not hear that this one can do work");
        }
    }

    fn drain(&self, handed_over: &'static str) -> StoreFuture<Result<(), LeaseError>> {
        self.ask(|reply| LeaseWork::Drain(handed_over, reply))
    }

    fn leave(&self) -> StoreFuture<Result<(), LeaseError>> {
        if let Some(own) = &self.view.borrow().own {
            own.end();
        }
        self.ask(LeaseWork::Leave)
    }
}
