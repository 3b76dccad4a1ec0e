//! Which sockets get which events.
//!
//! Each worker has a [`RoomActor`] for the sockets that live there. A broadcast to several rooms reaches a socket once,
//! however many of the rooms it is in, and broadcasts arrive in order. A socket whose join has returned gets everything
//! that is broadcast afterwards.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix::{
    dev::SendError,
    fut::{ActorFutureExt, wrap_future},
    prelude::*,
};
use tokio::sync::watch;

use super::{OutgoingEvent, SocketId, SocketNotice};
use crate::engine::ConnectionNotice;

/// How many broadcasts, joins and leaves wait for the rooms of one worker. At the bound their senders wait.
const MAILBOX: usize = 1_024;

/// A name of a room.
pub trait RoomName: Clone + Eq + Hash + Send + Sync + Unpin + 'static {}

impl<R: Clone + Eq + Hash + Send + Sync + Unpin + 'static> RoomName for R {}

/// An event for the sockets in some rooms.
#[derive(Clone)]
pub struct RoomBroadcast<R> {
    /// A socket in any of these gets the event, once.
    pub rooms: Vec<R>,
    /// The event.
    pub event: Arc<OutgoingEvent>,
    /// What unrestricted members ([`RoomIdentity::Unrestricted`]) get instead, where that differs.
    pub unrestricted_event: Option<Arc<OutgoingEvent>>,
    /// The only user who may be in the rooms from now on: all other restricted members get this event and then lose
    /// their connection, and nobody else gets it.
    pub owner: Option<Box<str>>,
}

impl<R> RoomBroadcast<R> {
    fn is_for(&self, identity: &RoomIdentity) -> bool {
        match (&self.owner, identity) {
            (None, _) | (Some(_), RoomIdentity::Anonymous) => true,
            (Some(_), RoomIdentity::Unrestricted) => false,
            (Some(owner), RoomIdentity::User(user)) => owner != user,
        }
    }
}

/// Who a socket is to its rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomIdentity {
    /// It stays in a room whoever owns it.
    Unrestricted,
    /// It stays in a room that nobody or this user owns.
    User(Box<str>),
    /// It stays in a room that nobody owns.
    Anonymous,
}

/// A socket that joins rooms.
#[derive(Clone)]
pub struct RoomMember {
    /// The socket.
    pub socket: SocketId,
    /// Where its events go.
    pub recipient: Recipient<ConnectionNotice<SocketNotice>>,
}

/// The rooms of all workers.
pub struct RoomRegistry<R: RoomName> {
    workers: watch::Sender<Vec<Addr<RoomActor<R>>>>,
    /// How many memberships there are.
    memberships: Arc<AtomicUsize>,
}

impl<R: RoomName> Default for RoomRegistry<R> {
    fn default() -> Self {
        Self { workers: watch::Sender::new(Vec::new()), memberships: Arc::default() }
    }
}

impl<R: RoomName> RoomRegistry<R> {
    /// Starts the rooms of the current worker.
    #[must_use]
    pub fn start_worker(&self) -> WorkerRooms<R> {
        let actor = RoomActor {
            rooms: HashMap::new(),
            members: HashMap::new(),
            memberships: Arc::clone(&self.memberships),
        };
        let address = RoomActor::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            actor
        });
        self.workers.send_modify(|workers| {
            workers.retain(Addr::connected);
            workers.push(address.clone());
        });
        WorkerRooms(Arc::new(address))
    }

    /// Whether no socket is in a room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memberships.load(Ordering::Acquire) == 0
    }

    /// Broadcasts to the rooms of every worker. When this returns, the events are in the queue of each socket.
    pub async fn broadcast(&self, broadcasts: Vec<RoomBroadcast<R>>) {
        if broadcasts.is_empty() {
            return;
        }
        let broadcasts: Arc<[_]> = broadcasts.into();
        let workers = self.workers.borrow().clone();
        // All at once, so that a slow worker does not delay the others.
        let sent: Vec<_> =
            workers.iter().map(|rooms| rooms.send(DeliverBroadcasts(Arc::clone(&broadcasts)))).collect();
        for delivery in sent {
            // A worker that is gone has no sockets.
            let _gone = delivery.await;
        }
    }
}

/// The rooms of one worker. Every socket keeps this, and cloning an actor's address allocates, so it is in an `Arc`.
pub struct WorkerRooms<R: RoomName>(Arc<Addr<RoomActor<R>>>);

impl<R: RoomName> Clone for WorkerRooms<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: RoomName> WorkerRooms<R> {
    /// Adds a socket to a room. When this returns, the socket gets what is broadcast.
    pub async fn join(&self, room: R, member: RoomMember, identity: RoomIdentity) {
        let _gone = self.0.send(JoinRoom { room, member, identity }).await;
    }

    /// Removes a socket from a room.
    pub async fn leave(&self, room: R, socket: SocketId) {
        let _gone = self.0.send(LeaveRoom { room, socket }).await;
    }

    /// Removes a socket from all its rooms.
    pub async fn leave_all(&self, socket: SocketId) {
        let _gone = self.0.send(LeaveAllRooms(socket)).await;
    }
}

/// The actor of one worker's rooms.
pub struct RoomActor<R: RoomName> {
    rooms: HashMap<R, HashSet<SocketId>>,
    members: HashMap<SocketId, RoomMembership<R>>,
    memberships: Arc<AtomicUsize>,
}

/// The rooms of a socket.
struct RoomMembership<R> {
    recipient: Recipient<ConnectionNotice<SocketNotice>>,
    identity: RoomIdentity,
    rooms: Vec<R>,
}

/// What a socket gets of some broadcasts.
#[derive(Default)]
struct SocketDelivery {
    events: Vec<Arc<OutgoingEvent>>,
    /// Whether its connection closes after them.
    is_last: bool,
}

impl<R: RoomName> Actor for RoomActor<R> {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct JoinRoom<R> {
    room: R,
    member: RoomMember,
    identity: RoomIdentity,
}

impl<R: RoomName> Handler<JoinRoom<R>> for RoomActor<R> {
    type Result = ();

    fn handle(&mut self, JoinRoom { room, member, identity }: JoinRoom<R>, _: &mut Self::Context) {
        let RoomMember { socket, recipient } = member;
        if self.rooms.entry(room.clone()).or_default().insert(socket) {
            let new = RoomMembership { recipient, identity, rooms: Vec::new() };
            self.members.entry(socket).or_insert(new).rooms.push(room);
            self.memberships.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct LeaveRoom<R> {
    room: R,
    socket: SocketId,
}

impl<R: RoomName> Handler<LeaveRoom<R>> for RoomActor<R> {
    type Result = ();

    fn handle(&mut self, LeaveRoom { room, socket }: LeaveRoom<R>, _: &mut Self::Context) {
        self.remove(&room, socket);
        if let Some(membership) = self.members.get_mut(&socket) {
            membership.rooms.retain(|other| *other != room);
            if membership.rooms.is_empty() {
                self.members.remove(&socket);
            }
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct LeaveAllRooms(SocketId);

impl<R: RoomName> Handler<LeaveAllRooms> for RoomActor<R> {
    type Result = ();

    fn handle(&mut self, LeaveAllRooms(socket): LeaveAllRooms, _: &mut Self::Context) {
        self.leave_all(socket);
    }
}

impl<R: RoomName> RoomActor<R> {
    fn remove(&mut self, room: &R, socket: SocketId) {
        let Some(sockets) = self.rooms.get_mut(room) else { return };
        if sockets.remove(&socket) {
            self.memberships.fetch_sub(1, Ordering::AcqRel);
        }
        if sockets.is_empty() {
            self.rooms.remove(room);
        }
    }

    fn leave_all(&mut self, socket: SocketId) {
        for room in self.members.remove(&socket).map(|membership| membership.rooms).unwrap_or_default() {
            self.remove(&room, socket);
        }
    }

    /// What each socket gets of some broadcasts, in order.
    fn deliveries(&self, broadcasts: &[RoomBroadcast<R>]) -> HashMap<SocketId, SocketDelivery> {
        let mut deliveries: HashMap<SocketId, SocketDelivery> = HashMap::new();
        for broadcast in broadcasts {
            for (number, room) in broadcast.rooms.iter().enumerate() {
                let before = broadcast.rooms.get(..number).unwrap_or_default();
                for socket in self.rooms.get(room).into_iter().flatten() {
                    let has_it = before
                        .iter()
                        .any(|room| self.rooms.get(room).is_some_and(|sockets| sockets.contains(socket)));
                    if has_it || !self.is_reached(broadcast, *socket) {
                        continue;
                    }
                    let delivery = deliveries.entry(*socket).or_default();
                    if !delivery.is_last {
                        delivery.events.push(Arc::clone(self.event_for(broadcast, *socket)));
                        delivery.is_last = broadcast.owner.is_some();
                    }
                }
            }
        }
        deliveries
    }

    /// Which of a broadcast's events a socket gets.
    fn event_for<'a>(&self, broadcast: &'a RoomBroadcast<R>, socket: SocketId) -> &'a Arc<OutgoingEvent> {
        let is_unrestricted = || {
            let membership = self.members.get(&socket);
            membership.is_some_and(|membership| membership.identity == RoomIdentity::Unrestricted)
        };
        broadcast.unrestricted_event.as_ref().filter(|_| is_unrestricted()).unwrap_or(&broadcast.event)
    }

    fn is_reached(&self, broadcast: &RoomBroadcast<R>, socket: SocketId) -> bool {
        broadcast.owner.is_none()
            || self.members.get(&socket).is_some_and(|membership| broadcast.is_for(&membership.identity))
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct DeliverBroadcasts<R>(Arc<[RoomBroadcast<R>]>);

impl<R: RoomName> Handler<DeliverBroadcasts<R>> for RoomActor<R> {
    type Result = AtomicResponse<Self, ()>;

    fn handle(
        &mut self,
        DeliverBroadcasts(broadcasts): DeliverBroadcasts<R>,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mut waiting = Vec::new();
        for (to, SocketDelivery { events, is_last }) in self.deliveries(&broadcasts) {
            let Some(membership) = self.members.get(&to) else { continue };
            let notice = ConnectionNotice(SocketNotice::Emit { to, events, is_last });
            // A full mailbox is emptied soon: a connection never waits for anybody.
            if let Err(SendError::Full(notice)) = membership.recipient.try_send(notice) {
                waiting.push(membership.recipient.send(notice));
            }
            if is_last {
                self.leave_all(to);
            }
        }
        let all_sent = async {
            for sent in waiting {
                let _gone = sent.await;
            }
        };
        AtomicResponse::new(Box::pin(wrap_future::<_, Self>(all_sent).map(|(), _, _| ())))
    }
}
