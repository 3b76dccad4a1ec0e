//! Which clients may still recover: those that are connected, and those that left a short time ago.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use amoiq_events::SessionId;
use amoiq_socketio::socket::SocketId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many clients that left are remembered. Of more, those that left first are forgotten.
const MAX_REMEMBERED: usize = 100_000;

/// The clients that asked for recovery, by number.
pub struct RecoveryTable {
    window: Duration,
    /// No more than may wait for a client is sent again.
    max_bytes: usize,
    /// Whether other nodes give out numbers too.
    is_one_of_several: bool,
    started: Instant,
    clients: Mutex<ClientTable>,
    recovered: AtomicU64,
    not_recovered: AtomicU64,
}

#[derive(Default)]
struct ClientTable {
    by_number: HashMap<u64, RecoverableClient>,
    /// Those that left, in the order in which they did.
    left: VecDeque<(Instant, u64)>,
}

/// A client that is connected or was.
#[derive(Debug, Clone)]
struct RecoverableClient {
    /// The socket that now belongs to the client. The socket that it came back from may be found dead only later.
    socket: SocketId,
    session: Option<SessionId>,
    left: Option<Instant>,
}

/// What the table knows about a number.
pub(super) enum RecoveryLookup {
    /// The client is connected or left a short time ago; it was bound to this session.
    Known(Option<SessionId>),
    /// The number may have been given out before this process started, or by another node.
    Elsewhere,
    /// It is too late.
    Expired,
}

impl RecoveryTable {
    /// An empty table. A window of zero turns recovery off. `max_bytes` limits what is sent again. With other nodes
    /// (`is_one_of_several`) the window binds only clients that this one remembers.
    #[must_use]
    pub fn new(window: Duration, max_bytes: usize, is_one_of_several: bool) -> Self {
        let (recovered, not_recovered) = Default::default();
        let started = Instant::now();
        Self {
            window,
            max_bytes,
            is_one_of_several,
            started,
            clients: Mutex::default(),
            recovered,
            not_recovered,
        }
    }

    /// How many clients got everything that they missed, and how many could not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.recovered.load(Ordering::Relaxed), self.not_recovered.load(Ordering::Relaxed))
    }

    pub(super) fn count(&self, is_recovered: bool) {
        let count = if is_recovered { &self.recovered } else { &self.not_recovered };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_off(&self) -> bool {
        self.window.is_zero()
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// A client has connected.
    pub(super) fn connected(&self, number: u64, socket: SocketId, session: Option<&SessionId>) {
        let client = RecoverableClient { socket, session: session.cloned(), left: None };
        self.update(|clients| clients.by_number.insert(number, client));
    }

    /// A client was bound to a session.
    pub(super) fn bound(&self, number: u64, socket: SocketId, session: &SessionId) {
        self.update(|clients| {
            if let Some(client) = clients.of_socket(number, socket) {
                client.session = Some(session.clone());
            }
        });
    }

    /// The socket of a client is gone.
    pub(super) fn left(&self, number: u64, socket: SocketId) {
        self.update(|clients| {
            let now = Instant::now();
            if let Some(client) = clients.of_socket(number, socket) {
                client.left = Some(now);
                clients.left.push_back((now, number));
            }
        });
    }

    pub(super) fn look_up(&self, number: u64) -> RecoveryLookup {
        self.update(|clients| match clients.by_number.get(&number) {
            Some(client) if client.left.is_none_or(|since| since.elapsed() <= self.window) => {
                RecoveryLookup::Known(client.session.clone())
            }
            None if self.is_one_of_several || self.started.elapsed() <= self.window => {
                RecoveryLookup::Elsewhere
            }
            Some(_) | None => RecoveryLookup::Expired,
        })
    }

    /// Forgets expired clients and then works on the others.
    fn update<T>(&self, work: impl FnOnce(&mut ClientTable) -> T) -> T {
        let mut clients = self.clients.lock();
        while let Some((since, number)) = clients.left.front().copied() {
            if since.elapsed() <= self.window && clients.left.len() <= MAX_REMEMBERED {
                break;
            }
            clients.left.pop_front();
            // The client may have come back in the meantime, or left again.
            if clients.by_number.get(&number).is_some_and(|client| client.left == Some(since)) {
                clients.by_number.remove(&number);
            }
        }
        work(&mut clients)
    }
}

impl ClientTable {
    /// The client of a number, as long as it belongs to this socket.
    fn of_socket(&mut self, number: u64, socket: SocketId) -> Option<&mut RecoverableClient> {
        self.by_number.get_mut(&number).filter(|client| client.socket == socket)
    }
}
