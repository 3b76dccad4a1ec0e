//! What the nodes of a server share, and what each has of its own.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::sync::watch;
use tonic::{Request, Status, transport::Identity};

use super::{
    guarded_socket::ConnectionSwitch,
    server_faults::{FaultPlan, SubscriptionEnd},
    server_log::ServerLog,
};

/// What the nodes share: there is one log, and replication takes no time.
pub(super) struct ClusterState {
    log: Mutex<ServerLog>,
    pub(super) faults: Mutex<FaultPlan>,
    /// How many records there are; changes wake subscriptions.
    pub(super) length: watch::Sender<usize>,
    /// How often subscriptions were ended, and how.
    pub(super) ended: watch::Sender<(u64, Option<SubscriptionEnd>)>,
    pub(super) ports: Vec<u16>,
    pub(super) leader: AtomicUsize,
    /// The most bytes that an append may have.
    pub(super) max_append_bytes: AtomicUsize,
    /// How the way to the nodes is encrypted.
    pub(super) identity: Option<Identity>,
    /// Which nodes are alive, as a bit for each.
    pub(super) alive: AtomicUsize,
    pub(super) scavenges: AtomicUsize,
    /// `user:password` of the only user, if one has to log in.
    pub(super) login: Mutex<Option<String>>,
}

/// One node.
#[derive(Clone)]
pub(super) struct NodeState {
    pub(super) number: usize,
    pub(super) cluster: Arc<ClusterState>,
    pub(super) switch: watch::Sender<ConnectionSwitch>,
}

impl ClusterState {
    pub(super) fn new(ports: Vec<u16>, max_append_bytes: usize, identity: Option<Identity>) -> Self {
        let log = ServerLog::new();
        let length = watch::Sender::new(log.len());
        let alive = AtomicUsize::new((1 << ports.len()) - 1);
        Self {
            log: Mutex::new(log),
            faults: Mutex::default(),
            length,
            ended: watch::Sender::new((0, None)),
            ports,
            leader: AtomicUsize::new(0),
            max_append_bytes: AtomicUsize::new(max_append_bytes),
            identity,
            alive,
            scavenges: AtomicUsize::new(0),
            login: Mutex::default(),
        }
    }

    /// Refuses whoever does not log in rightly.
    pub(super) fn check_login(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let login = self.login.lock().expect("nobody panics with it");
        let Some(login) = &*login else { return Ok(request) };
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        match given {
            Some(given) if given == format!("Basic {}", BASE64_STANDARD.encode(login)) => Ok(request),
            // What a client makes of the server's HTTP status 401.
            Some(_) => Err(Status::unauthenticated("Unauthorized")),
            None => Err(Status::permission_denied("Access Denied")),
        }
    }

    /// The log. Nobody waits while holding it.
    pub(super) fn log(&self) -> MutexGuard<'_, ServerLog> {
        self.log.lock().expect("nobody panics with the log")
    }

    /// Tells subscriptions that the log is longer, or another one.
    pub(super) fn grew(&self) {
        self.length.send_replace(self.log().len());
    }

    pub(super) fn is_alive(&self, node: usize) -> bool {
        self.alive.load(Ordering::SeqCst) & (1 << node) != 0
    }

    pub(super) fn is_leader(&self, node: usize) -> bool {
        self.leader.load(Ordering::SeqCst) == node
    }
}
