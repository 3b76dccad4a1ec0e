//! Which sockets get which events.
//!
//! Each worker has a table of the rooms of the sockets that live there, and a [`RoomActor`] that hands it what is
//! broadcast. The table puts an event, encoded once, straight into the send queue of each listener and then writes each
//! connection once: no message, no wake-up and no copy for a listener. A broadcast to several rooms reaches a socket
//! once, however many of the rooms it is in, and broadcasts arrive in order. A socket that has joined gets everything
//! that is broadcast afterwards.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::{Hash, RandomState},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{fut::wrap_future, prelude::*};
use tokio::{sync::watch, time::Instant};

use super::{SocketId, SocketOutlet};
use crate::engine::CloseReason;

mod room_broadcast;
mod room_index;

pub use room_broadcast::{RoomBroadcast, RoomIdentity};
use room_index::{RoomIndex, RoomNumber};

/// How many batches of broadcasts wait for the rooms of one worker. At the bound their senders wait.
const MAILBOX: usize = 1_024;

/// How many connections are written before other work of the worker has its turn.
const WRITES_AT_ONCE: usize = 64;

/// The longest pause between two batches for many connections.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// A name of a room.
pub trait RoomName: Clone + Eq + Hash + Send + Sync + Unpin + 'static {}

impl<R: Clone + Eq + Hash + Send + Sync + Unpin + 'static> RoomName for R {}

/// The rooms of all workers.
pub struct RoomRegistry<R: RoomName> {
    workers: watch::Sender<Vec<RoomWorker<R>>>,
    hasher: RandomState,
    /// How many memberships there are.
    memberships: Arc<AtomicUsize>,
}

/// The rooms of one worker, for others.
struct RoomWorker<R: RoomName> {
    address: Addr<RoomActor<R>>,
    index: Arc<RoomIndex>,
    is_writing: watch::Receiver<bool>,
}

impl<R: RoomName> Default for RoomRegistry<R> {
    fn default() -> Self {
        let (hasher, memberships) = Default::default();
        Self { workers: watch::Sender::new(Vec::new()), hasher, memberships }
    }
}

impl<R: RoomName> RoomRegistry<R> {
    /// Starts the rooms of the current worker.
    #[must_use]
    pub fn start_worker(&self) -> WorkerRooms<R> {
        let index = Arc::new(RoomIndex::new());
        let counts = MembershipCounts {
            hasher: self.hasher.clone(),
            index: Arc::clone(&index),
            memberships: Arc::clone(&self.memberships),
        };
        let table = WorkerRooms::new(counts);
        let (rooms, is_writing) = (table.clone(), table.0.borrow().is_writing.subscribe());
        let address = RoomActor::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            RoomActor { rooms }
        });
        self.workers.send_modify(|workers| {
            workers.retain(|worker| worker.address.connected());
            workers.push(RoomWorker { address, index, is_writing });
        });
        table
    }

    /// Whether no socket is in a room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memberships.load(Ordering::Acquire) == 0
    }

    /// Waits until nobody who gets one of these is being written to. What comes meanwhile can go out with them.
    pub async fn ready_for(&self, broadcasts: &[RoomBroadcast<R>]) {
        let is_busy = |worker: &RoomWorker<R>| worker.is_writing.borrow().then(|| worker.is_writing.clone());
        for mut is_writing in self.with_listeners(broadcasts, is_busy) {
            wait_until_written(&mut is_writing).await;
        }
    }

    /// Broadcasts to the rooms of every worker. When this returns, the events are in the queue of each socket.
    pub async fn broadcast(&self, broadcasts: Vec<RoomBroadcast<R>>) {
        if broadcasts.is_empty() {
            return;
        }
        let broadcasts: Arc<[_]> = broadcasts.into();
        let deliver =
            |worker: &RoomWorker<R>| Some(worker.address.send(DeliverBroadcasts(Arc::clone(&broadcasts))));
        // All at once, so that a slow worker does not delay the others.
        for delivery in self.with_listeners(&broadcasts, deliver) {
            // A worker that is gone has no sockets.
            let _gone = delivery.await;
        }
    }

    /// What `of` gives for the workers that may have listeners: the others are not woken.
    fn with_listeners<T>(
        &self,
        broadcasts: &[RoomBroadcast<R>],
        of: impl Fn(&RoomWorker<R>) -> Option<T>,
    ) -> Vec<T> {
        let rooms = broadcasts.iter().flat_map(|broadcast| &broadcast.rooms);
        let rooms: Vec<_> = rooms.map(|room| RoomNumber::of(room, &self.hasher)).collect();
        let workers = self.workers.borrow();
        let with_listeners =
            workers.iter().filter(|worker| rooms.iter().any(|room| worker.index.may_have(*room)));
        with_listeners.filter_map(of).collect()
    }
}

/// A worker that is gone writes nothing.
async fn wait_until_written(is_writing: &mut watch::Receiver<bool>) {
    let _gone = is_writing.wait_for(|is_writing| !is_writing).await;
}

/// The rooms of one worker.
pub struct WorkerRooms<R: RoomName>(Rc<RefCell<RoomTable<R>>>);

impl<R: RoomName> Clone for WorkerRooms<R> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<R: RoomName> WorkerRooms<R> {
    fn new(counts: MembershipCounts) -> Self {
        let (rooms, members, written) = Default::default();
        let is_writing = watch::Sender::new(false);
        Self(Rc::new(RefCell::new(RoomTable { rooms, members, broadcasts: 0, written, counts, is_writing })))
    }

    /// Adds a socket to a room. From now on it gets what is broadcast.
    pub fn join(&self, room: R, socket: &Rc<SocketOutlet>, identity: RoomIdentity) {
        self.0.borrow_mut().join(room, socket, identity);
    }

    /// Removes a socket from a room.
    pub fn leave(&self, room: &R, socket: SocketId) {
        self.0.borrow_mut().leave(room, socket);
    }

    /// Removes a socket from all its rooms.
    pub fn leave_all(&self, socket: SocketId) {
        self.0.borrow_mut().leave_all(socket);
    }

    /// Puts broadcasts into the queues of their listeners, and writes them. If there are many listeners, other connections have
    /// their turn in between, and the table is marked as writing until the next batch is due.
    fn deliver(&self, broadcasts: &[RoomBroadcast<R>]) {
        {
            let mut table = self.0.borrow_mut();
            broadcasts.iter().for_each(|broadcast| table.queue(broadcast));
            if table.flush_some() {
                return;
            }
            table.is_writing.send_replace(true);
        }
        let (rooms, started) = (self.clone(), Instant::now());
        let writing = BatchWriting(self.clone());
        actix::spawn(async move {
            loop {
                tokio::task::yield_now().await;
                if rooms.0.borrow_mut().flush_some() {
                    break;
                }
            }
            // The cores are free for as long as that took: what is said meanwhile goes out with one write for each listener.
            tokio::time::sleep(started.elapsed().min(MAX_PAUSE)).await;
            drop(writing);
        });
    }
}

/// A batch for many listeners until the next one is due, however its writing ends.
struct BatchWriting<R: RoomName>(WorkerRooms<R>);

impl<R: RoomName> Drop for BatchWriting<R> {
    fn drop(&mut self) {
        if let Ok(table) = self.0.0.try_borrow() {
            table.is_writing.send_replace(false);
        }
    }
}

struct RoomTable<R> {
    rooms: HashMap<R, Vec<Rc<RoomMember<R>>>>,
    members: HashMap<SocketId, Rc<RoomMember<R>>>,
    /// How many there were.
    broadcasts: u64,
    /// The members that got something of the current broadcasts and are not flushed yet.
    written: Vec<Rc<RoomMember<R>>>,
    counts: MembershipCounts,
    /// Whether the last batch is not written yet, or the next one is not due.
    is_writing: watch::Sender<bool>,
}

/// What other threads know of the memberships of one worker.
struct MembershipCounts {
    hasher: RandomState,
    index: Arc<RoomIndex>,
    /// Of all workers.
    memberships: Arc<AtomicUsize>,
}

impl MembershipCounts {
    fn joined(&self, room: &impl Hash) {
        self.index.joined(RoomNumber::of(room, &self.hasher));
        self.memberships.fetch_add(1, Ordering::AcqRel);
    }

    fn left(&self, room: &impl Hash) {
        self.index.left(RoomNumber::of(room, &self.hasher));
        self.memberships.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A socket in rooms.
struct RoomMember<R> {
    outlet: Rc<SocketOutlet>,
    identity: RoomIdentity,
    rooms: RefCell<Vec<R>>,
    /// The number of the last broadcast that it got.
    last_broadcast: Cell<u64>,
    is_written: Cell<bool>,
}

impl<R: RoomName> RoomTable<R> {
    fn join(&mut self, room: R, socket: &Rc<SocketOutlet>, identity: RoomIdentity) {
        let member = self.members.entry(socket.id()).or_insert_with(|| {
            Rc::new(RoomMember {
                outlet: Rc::clone(socket),
                identity,
                rooms: RefCell::default(),
                last_broadcast: Cell::new(0),
                is_written: Cell::new(false),
            })
        });
        let mut rooms = member.rooms.borrow_mut();
        if !rooms.contains(&room) {
            // Most sockets are in one room, and most rooms have one socket.
            rooms.reserve_exact(1);
            rooms.push(room.clone());
            self.counts.joined(&room);
            let members = self.rooms.entry(room).or_insert_with(|| Vec::with_capacity(1));
            members.push(Rc::clone(member));
        }
    }

    fn leave(&mut self, room: &R, socket: SocketId) {
        let Some(member) = self.members.get(&socket).cloned() else { return };
        self.remove(room, &member);
        let mut rooms = member.rooms.borrow_mut();
        rooms.retain(|other| other != room);
        if rooms.is_empty() {
            self.members.remove(&socket);
        }
    }

    fn leave_all(&mut self, socket: SocketId) {
        let Some(member) = self.members.remove(&socket) else { return };
        for room in member.rooms.take() {
            self.remove(&room, &member);
        }
    }

    fn remove(&mut self, room: &R, member: &Rc<RoomMember<R>>) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        if let Some(index) = members.iter().position(|other| Rc::ptr_eq(other, member)) {
            members.swap_remove(index);
            self.counts.left(room);
        }
        if members.is_empty() {
            self.rooms.remove(room);
        }
    }

    /// Puts a broadcast into the queues of its listeners.
    fn queue(&mut self, broadcast: &RoomBroadcast<R>) {
        self.broadcasts += 1;
        for member in broadcast.rooms.iter().filter_map(|room| self.rooms.get(room)).flatten() {
            let is_first = member.last_broadcast.replace(self.broadcasts) != self.broadcasts;
            if !is_first || !broadcast.is_for(&member.identity) {
                continue;
            }
            let restricted = || member.identity != RoomIdentity::Unrestricted;
            let unrestricted_event = broadcast.unrestricted_event.as_ref().filter(|_| !restricted());
            member.outlet.send_shared(unrestricted_event.unwrap_or(&broadcast.event));
            if !member.is_written.replace(true) {
                self.written.push(Rc::clone(member));
            }
        }
        if broadcast.owner.is_some() {
            self.send_away(broadcast);
        }
    }

    /// Closes the connections of members who may not stay.
    fn send_away(&mut self, broadcast: &RoomBroadcast<R>) {
        let members = broadcast.rooms.iter().filter_map(|room| self.rooms.get(room)).flatten();
        let away: Vec<_> = members.filter(|member| broadcast.is_for(&member.identity)).cloned().collect();
        for member in away {
            member.outlet.connection().close(CloseReason::Refused);
            self.leave_all(member.outlet.id());
        }
    }

    /// Writes some of the connections that got something, each once. Returns whether none is left.
    fn flush_some(&mut self) -> bool {
        for member in self.written.drain(self.written.len().saturating_sub(WRITES_AT_ONCE)..) {
            member.is_written.set(false);
            member.outlet.connection().flush();
        }
        self.written.is_empty()
    }
}

/// Hands the rooms of one worker what is broadcast, one batch after the other. What is appended while a batch is written
/// makes the next one, so that a connection of a busy room gets many events with one write.
pub struct RoomActor<R: RoomName> {
    rooms: WorkerRooms<R>,
}

impl<R: RoomName> Actor for RoomActor<R> {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct DeliverBroadcasts<R>(Arc<[RoomBroadcast<R>]>);

impl<R: RoomName> Handler<DeliverBroadcasts<R>> for RoomActor<R> {
    type Result = AtomicResponse<Self, ()>;

    /// Answers when the events are in the queues.
    fn handle(
        &mut self,
        DeliverBroadcasts(broadcasts): DeliverBroadcasts<R>,
        _: &mut Self::Context,
    ) -> Self::Result {
        let rooms = self.rooms.clone();
        let mut is_writing = rooms.0.borrow().is_writing.subscribe();
        let delivering = async move {
            wait_until_written(&mut is_writing).await;
            rooms.deliver(&broadcasts);
        };
        AtomicResponse::new(Box::pin(wrap_future::<_, Self>(delivering)))
    }
}
