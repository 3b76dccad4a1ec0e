//! One connection at a time, and a new one when it does not work. The client itself asks a node that died again and again,
//! and gives up for ever when its first connection fails.
//!
//! After two failures in a row another node is asked for the leader, and everything starts anew. A node is asked for what
//! this one knows to be in the log before it is used, and again after each failure: it may have been restored meanwhile.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tokio::{
    sync::Mutex as TurnMutex,
    time::{Instant, sleep, timeout},
};

use super::{
    cluster_address::NodeAddress,
    known_history::KnownHistory,
    log_start,
    node_call_error::NodeCallError,
    node_connection::{NodeAccess, NodeConnection},
    timing,
};

/// How many failures in a row a connection survives.
const FAILURES: u32 = 2;

/// The way to the leader.
pub(in crate::store::kurrentdb) struct ConnectionSupervisor {
    access: Arc<NodeAccess>,
    /// What a node has to have; nothing while the log is being opened.
    known: OnceLock<Arc<KnownHistory>>,
    current: Mutex<SupervisedConnection>,
    /// Held by the one who connects or checks; the others wait for what comes of it.
    connecting: TurnMutex<()>,
}

#[derive(Default)]
struct SupervisedConnection {
    connection: Option<Arc<NodeConnection>>,
    /// Whether the node was asked for what this one knows, and has not failed since.
    is_checked: bool,
    failures: u32,
    /// Which of the nodes is asked first for the leader.
    first: usize,
    /// What came of the last attempt to connect that failed, and when.
    failed: Option<(Instant, NodeCallError)>,
}

impl ConnectionSupervisor {
    pub(in crate::store::kurrentdb) fn new(access: NodeAccess) -> Self {
        Self {
            access: Arc::new(access),
            known: OnceLock::new(),
            current: Mutex::default(),
            connecting: TurnMutex::default(),
        }
    }

    /// From now on every node has to have this much.
    pub(in crate::store::kurrentdb) fn require(&self, known: Arc<KnownHistory>) {
        // The log is opened once.
        self.known.get_or_init(|| known);
    }

    /// How nodes are reached.
    pub(in crate::store::kurrentdb) fn access(&self) -> &Arc<NodeAccess> {
        &self.access
    }

    /// Makes a call until it is answered, or until a deadline; the last try may begin just before it.
    pub(in crate::store::kurrentdb) async fn call<T, F>(
        &self,
        deadline: Instant,
        make: impl Fn(Arc<NodeConnection>) -> F,
    ) -> Result<T, NodeCallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, NodeCallError>> + Send + 'static,
    {
        loop {
            match self.try_call(&make).await {
                Err(error) if error.is_passing() && Instant::now() < deadline => sleep(timing::RETRY).await,
                answered => return answered,
            }
        }
    }

    /// Makes a call once.
    pub(in crate::store::kurrentdb) async fn try_call<T, F>(
        &self,
        make: impl Fn(Arc<NodeConnection>) -> F,
    ) -> Result<T, NodeCallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, NodeCallError>> + Send + 'static,
    {
        let connection = self.connection().await?;
        // The client panics at answers that lack what it expects; a task of its own turns that into an error.
        let calling = tokio::spawn(timeout(timing::CALL, make(Arc::clone(&connection))));
        let answered = match calling.await {
            Ok(in_time) => in_time.unwrap_or_else(|_late| Err(NodeCallError::silent())),
            Err(error) => Err(NodeCallError::Broken(format!("the client failed: {error}"))),
        };
        self.judge(&connection, answered.as_ref().err());
        answered
    }

    /// The connection, to a node that was checked.
    pub(in crate::store::kurrentdb) async fn connection(&self) -> Result<Arc<NodeConnection>, NodeCallError> {
        let asked = Instant::now();
        if let Some(connection) = self.current.lock().checked() {
            return Ok(connection);
        }
        let _turn = self.connecting.lock().await;
        if let Some(connection) = self.current.lock().checked() {
            return Ok(connection);
        }
        // Whoever waited while somebody else failed has the same answer.
        let failed = self.current.lock().failed.clone();
        if let Some((_, error)) = failed.filter(|(at, _)| *at >= asked) {
            return Err(error);
        }
        let checked = timeout(timing::CONNECT, self.connect()).await;
        let checked = checked.unwrap_or_else(|_late| Err(NodeCallError::silent()));
        if let Err(error) = &checked {
            let mut current = self.current.lock();
            current.note(Some(error));
            current.failed = Some((Instant::now(), error.clone()));
        }
        checked
    }

    /// Connects if nothing is connected, and checks.
    async fn connect(&self) -> Result<Arc<NodeConnection>, NodeCallError> {
        let (known, first) = {
            let current = self.current.lock();
            (current.connection.clone(), current.first)
        };
        let connection = match known {
            Some(connection) => connection,
            None => Arc::new(NodeConnection::open(&self.access, &self.leader(first).await?)?),
        };
        self.current.lock().connection = Some(Arc::clone(&connection));
        if let Some(known) = self.known.get() {
            log_start::check(&connection, known).await?;
        }
        self.current.lock().is_checked = true;
        Ok(connection)
    }

    /// Notes how a call went that was made over a connection.
    pub(in crate::store::kurrentdb) fn judge(
        &self,
        connection: &Arc<NodeConnection>,
        error: Option<&NodeCallError>,
    ) {
        let mut current = self.current.lock();
        if current.connection.as_ref().is_some_and(|known| Arc::ptr_eq(known, connection)) {
            current.note(error);
        }
    }

    /// Asks one node after the other who the leader is.
    async fn leader(&self, first: usize) -> Result<NodeAddress, NodeCallError> {
        let nodes = &self.access.cluster.nodes;
        let mut failure = NodeCallError::NotLeader("no node knows the leader".to_owned());
        for number in 0..nodes.len() {
            let Some(node) = nodes.get((first + number) % nodes.len()) else { continue };
            if !self.access.cluster.is_cluster {
                return Ok(node.clone());
            }
            // Not all of the time for the first of them.
            match timeout(timing::CONNECT / 3, self.access.members(node)).await {
                Ok(Ok(members)) => {
                    if let Some(leader) = members.into_iter().find(|member| member.is_leader) {
                        return Ok(leader.node);
                    }
                }
                Ok(Err(error)) => failure = error,
                Err(_late) => failure = NodeCallError::Postponed(format!("{node} does not answer")),
            }
        }
        Err(failure)
    }
}

impl SupervisedConnection {
    /// The connection, if its node was checked.
    fn checked(&self) -> Option<Arc<NodeConnection>> {
        self.connection.clone().filter(|_| self.is_checked)
    }

    /// Counts a failure, or forgets those before.
    fn note(&mut self, error: Option<&NodeCallError>) {
        match error {
            Some(NodeCallError::NotLeader(_)) => self.replace(),
            Some(error) if error.is_passing() => {
                self.is_checked = false;
                self.failures += 1;
                if self.failures >= FAILURES {
                    self.replace();
                }
            }
            _ => self.failures = 0,
        }
    }

    fn replace(&mut self) {
        self.failures = 0;
        self.is_checked = false;
        self.connection = None;
        self.first = self.first.wrapping_add(1);
    }
}
