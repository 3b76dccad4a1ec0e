//! A server that speaks KurrentDB's protocol, in the process of the test. It behaves as the sources of EventStoreDB 23.10 have
//! it where a client can tell, and goes wrong when a test says so.
//!
//! Positions are byte offsets, and one at which no record begins is an error; records of the server itself are among the
//! others; an append that expects an exact revision is recognised for ever, any other one only in a cache; a removed stream
//! goes on numbering; a scavenge keeps the last record of each stream, and concerns one node.
//!
//! What it does not do: rights of users, replication (the nodes of a cluster share one log), projections, persistent
//! subscriptions, batches.
#![expect(clippy::result_large_err, reason = "the errors of services are tonic's")]

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use amoiq_kurrentdb_protocol::{
    gossip::gossip_server::GossipServer, operations::operations_server::OperationsServer,
    streams::streams_server::StreamsServer,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
    task::AbortHandle,
};
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Identity, Server, ServerTlsConfig},
};

use self::{
    guarded_socket::GuardedListener,
    node_state::{ClusterState, NodeState},
    server_log::ServerLog,
};

mod guarded_socket;
mod node_services;
mod node_state;
mod read_plan;
mod server_faults;
mod server_log;
mod streams_service;

pub use server_faults::{AppendFault, SubscriptionEnd};

/// What EventStoreDB takes in one append unless it is set otherwise.
const MAX_APPEND_BYTES: usize = 1024 * 1024;

/// Counts the logs of this process.
static LOGS: AtomicU64 = AtomicU64::new(1);

/// Tells the logs of this process from those of others: a real server keeps them.
static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());

/// The server that the tests of a process share.
static SHARED: LazyLock<KurrentServer> = LazyLock::new(KurrentServer::start);

/// A cluster of one or several nodes. It ends when it is dropped.
pub struct KurrentServer {
    cluster: Arc<ClusterState>,
    nodes: Vec<ServedNode>,
    runtime: Handle,
    _running: oneshot::Sender<()>,
}

/// A node, and what serves it.
struct ServedNode {
    state: NodeState,
    serving: Option<AbortHandle>,
}

/// The log of a server, as it was.
pub struct KurrentBackup(ServerLog);

impl KurrentServer {
    /// Starts a single node.
    #[must_use]
    pub fn start() -> Self {
        Self::start_cluster(1)
    }

    /// Starts so many nodes; the first is the leader.
    #[must_use]
    pub fn start_cluster(nodes: usize) -> Self {
        Self::start_with(nodes, None)
    }

    /// Starts a single node to which the way is encrypted, with a certificate and its key in PEM.
    #[must_use]
    pub fn start_encrypted(certificate: &str, key: &str) -> Self {
        // The client under test brings a second library that encrypts. Somebody may have chosen before.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        Self::start_with(1, Some(Identity::from_pem(certificate, key)))
    }

    fn start_with(nodes: usize, identity: Option<Identity>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        thread::spawn(move || {
            // It is never sent, only dropped.
            drop(runtime.block_on(ended));
            runtime.shutdown_background();
        });
        let listeners: Vec<TcpListener> =
            (0..nodes).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")).collect();
        let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let cluster =
            Arc::new(ClusterState::new(listeners.iter().map(port).collect(), MAX_APPEND_BYTES, identity));
        let served = listeners.into_iter().enumerate().map(|(number, listener)| {
            let switch = watch::Sender::default();
            let state = NodeState { number, cluster: Arc::clone(&cluster), switch };
            let serving = Some(serve(&handle, &state, listener));
            ServedNode { state, serving }
        });
        let nodes = served.collect();
        Self { cluster, nodes, runtime: handle, _running: running }
    }

    /// A single node that everybody in this process uses.
    #[must_use]
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Where the nodes are.
    #[must_use]
    pub fn address(&self) -> String {
        let hosts: Vec<String> = self.cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("esdb://{}?tls=false", hosts.join(","))
    }

    /// The port of a node.
    #[must_use]
    pub fn port(&self, node: usize) -> u16 {
        self.cluster.ports[node]
    }

    /// Takes so many bytes in an append from now on.
    pub fn limit_appends(&self, bytes: usize) {
        self.cluster.max_append_bytes.store(bytes, Ordering::SeqCst);
    }

    /// A name for a log that nobody has used.
    #[must_use]
    pub fn new_log() -> String {
        format!("log{:x}_{}", *PROCESS, LOGS.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets in only this user from now on.
    pub fn require_login(&self, user: &str, password: &str) {
        let login = format!("{user}:{password}");
        *self.cluster.login.lock().expect("nobody panics with it") = Some(login);
    }

    /// Lets the next append to the log go wrong, after those that are planned already.
    pub fn fail_append(&self, fault: AppendFault) {
        self.cluster.faults.lock().expect("nobody panics with it").appends.push_back(fault);
    }

    /// Lets the next change of a stream's metadata go wrong, after those that are planned already.
    pub fn fail_metadata(&self, fault: AppendFault) {
        self.cluster.faults.lock().expect("nobody panics with it").metadata.push_back(fault);
    }

    /// Whether every planned fault has happened.
    #[must_use]
    pub fn has_failed_all(&self) -> bool {
        let faults = self.cluster.faults.lock().expect("nobody panics with it");
        faults.appends.is_empty() && faults.metadata.is_empty()
    }

    /// Holds every answer so long.
    pub fn delay(&self, delay: Duration) {
        self.cluster.faults.lock().expect("nobody panics with it").delay = delay;
    }

    /// Lets subscriptions bring nothing from now on, or again.
    pub fn silence_subscriptions(&self, are_silent: bool) {
        self.cluster.faults.lock().expect("nobody panics with it").are_subscriptions_silent = are_silent;
    }

    /// Ends every subscription.
    pub fn end_subscriptions(&self, end: SubscriptionEnd) {
        self.cluster.ended.send_modify(|ended| *ended = (ended.0 + 1, Some(end)));
    }

    /// Ends a node: its connections break, and its port is closed.
    pub fn kill(&mut self, node: usize) {
        self.cluster.alive.fetch_and(!(1 << node), Ordering::SeqCst);
        let served = &mut self.nodes[node];
        if let Some(serving) = served.serving.take() {
            serving.abort();
        }
        served.state.switch.send_modify(|switch| switch.cuts += 1);
    }

    /// Starts a node again that was ended. What it had in memory alone is gone.
    pub fn resume(&mut self, node: usize) {
        self.cluster.log().forget_cache();
        let place = (Ipv4Addr::LOCALHOST, self.cluster.ports[node]);
        let bind = || TcpListener::bind(place).ok();
        let mut listener = bind();
        crate::eventually("the port is free", || {
            listener = listener.take().or_else(bind);
            listener.is_some()
        });
        let served = &mut self.nodes[node];
        served.serving = Some(serve(&self.runtime, &served.state, listener.expect("bound")));
        self.cluster.alive.fetch_or(1 << node, Ordering::SeqCst);
    }

    /// Keeps the connections of a node open, and lets nothing through; the others take it for dead.
    pub fn black_hole(&self, node: usize, is_silent: bool) {
        if is_silent {
            self.cluster.alive.fetch_and(!(1 << node), Ordering::SeqCst);
        } else {
            self.cluster.alive.fetch_or(1 << node, Ordering::SeqCst);
        }
        self.nodes[node].state.switch.send_modify(|switch| switch.is_silent = is_silent);
    }

    /// Breaks every connection of a node.
    pub fn disconnect(&self, node: usize) {
        self.nodes[node].state.switch.send_modify(|switch| switch.cuts += 1);
    }

    /// Makes a node the leader.
    pub fn elect(&self, node: usize) {
        self.cluster.leader.store(node, Ordering::SeqCst);
    }

    /// The log as it is.
    #[must_use]
    pub fn backup(&self) -> KurrentBackup {
        KurrentBackup(self.cluster.log().clone())
    }

    /// Puts a log in place of the one there is, as a restore does: with an end of all connections.
    pub fn restore(&self, backup: &KurrentBackup) {
        *self.cluster.log() = backup.0.clone();
        self.cluster.log().forget_cache();
        self.cluster.grew();
        (0..self.nodes.len()).for_each(|node| self.disconnect(node));
    }

    /// Removes a stream of the database in the server's own way.
    pub fn soft_delete(&self, stream: &str) {
        self.cluster.log().soft_delete(stream);
        self.cluster.grew();
    }

    /// Removes a stream of the database for good.
    pub fn tombstone(&self, stream: &str) {
        self.cluster.log().tombstone(stream);
        self.cluster.grew();
    }

    /// Whether a text is in any record that `$all` of a node shows.
    #[must_use]
    pub fn shows(&self, node: usize, text: &str) -> bool {
        let log = self.cluster.log();
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        log.records_from(0, node).any(|record| has(&record.data) || has(&record.custom_metadata))
    }
}

/// Serves a node on a port.
fn serve(runtime: &Handle, state: &NodeState, listener: TcpListener) -> AbortHandle {
    let switch = state.switch.subscribe();
    let state = state.clone();
    listener.set_nonblocking(true).expect("a listener that does not block");
    let serving = runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let mut server = Server::builder();
        if let Some(identity) = &state.cluster.identity {
            server =
                server.tls_config(ServerTlsConfig::new().identity(identity.clone())).expect("a certificate");
        }
        let streams = StreamsServer::new(state.clone()).max_decoding_message_size(usize::MAX);
        let cluster = Arc::clone(&state.cluster);
        let check_login = move |request| cluster.check_login(request);
        let server = server
            .add_service(InterceptedService::new(streams, check_login.clone()))
            .add_service(GossipServer::new(state.clone()))
            .add_service(OperationsServer::with_interceptor(state, check_login))
            .serve_with_incoming(GuardedListener { listener, switch });
        server.await.expect("it serves until it is ended");
    });
    serving.abort_handle()
}
