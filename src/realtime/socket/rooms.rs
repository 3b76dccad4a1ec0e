//! Who hears what.
//!
//! There is one `Rooms` on each worker, for the sockets that live there. What is cast to rooms reaches
//! a socket once, however many of the rooms it is in, and in the order in which it was cast. A join
//! that has been answered hears everything that is cast afterwards.

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

use super::{
    Emission,
    protocol::{Note, SocketId},
};
use crate::realtime::engine::link::Told;

/// How many casts, joins and leaves wait for one worker's rooms. At the bound their senders wait.
const MAILBOX: usize = 1_024;

/// What names a room.
pub trait RoomName: Clone + Eq + Hash + Send + Sync + Unpin + 'static {}

impl<R: Clone + Eq + Hash + Send + Sync + Unpin + 'static> RoomName for R {}

/// An event for everybody in some rooms.
#[derive(Clone)]
pub struct Cast<R> {
    /// Who is in any of these hears it, once.
    pub rooms: Vec<R>,
    /// What they hear.
    pub emission: Arc<Emission>,
    /// What those hear instead who stay in every room ([`Pass::All`]), where that differs.
    pub for_all: Option<Arc<Emission>>,
    /// Whose the rooms are from now on: everybody else is sent away. They hear this last, and alone do.
    pub only: Option<Box<str>>,
}

impl<R> Cast<R> {
    fn reaches(&self, pass: &Pass) -> bool {
        match (&self.only, pass) {
            (None, _) => true,
            (Some(_), Pass::All) => false,
            (Some(whose), Pass::Of(name)) => whose != name,
            (Some(_), Pass::Nobody) => true,
        }
    }
}

/// As whom a socket is in its rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// It stays, whosever the room becomes.
    All,
    /// It stays where a room becomes theirs.
    Of(Box<str>),
    /// It stays while a room is nobody's.
    Nobody,
}

/// The rooms of all workers.
pub struct Rooms<R: RoomName> {
    workers: watch::Sender<Vec<Addr<RoomsActor<R>>>>,
    /// How many memberships there are.
    population: Arc<AtomicUsize>,
}

impl<R: RoomName> Default for Rooms<R> {
    fn default() -> Self {
        Self { workers: watch::Sender::new(Vec::new()), population: Arc::default() }
    }
}

impl<R: RoomName> Rooms<R> {
    /// Starts the rooms of the worker that calls this.
    #[must_use]
    pub fn start_here(&self) -> LocalRooms<R> {
        let population = Arc::clone(&self.population);
        let actor = RoomsActor { rooms: HashMap::new(), members: HashMap::new(), population };
        let address = RoomsActor::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            actor
        });
        self.workers.send_modify(|workers| {
            workers.retain(Addr::connected);
            workers.push(address.clone());
        });
        LocalRooms(Arc::new(address))
    }

    /// Whether nobody hears anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.population.load(Ordering::Acquire) == 0
    }

    /// Casts to the rooms of every worker; when it returns, each socket has it in its queue.
    pub async fn cast(&self, casts: Vec<Cast<R>>) {
        if casts.is_empty() {
            return;
        }
        let casts: Arc<[_]> = casts.into();
        let workers = self.workers.borrow().clone();
        // All at once: a worker that is slow does not hold up the others.
        let sent: Vec<_> = workers.iter().map(|rooms| rooms.send(Broadcast(Arc::clone(&casts)))).collect();
        for one in sent {
            // A worker that is gone has no sockets.
            let _gone = one.await;
        }
    }
}

/// The rooms of one worker. Every socket keeps them, and a clone of an actor's address is an allocation.
pub struct LocalRooms<R: RoomName>(Arc<Addr<RoomsActor<R>>>);

impl<R: RoomName> Clone for LocalRooms<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: RoomName> LocalRooms<R> {
    /// Puts a socket into a room; when it returns, the socket hears what is cast.
    pub async fn join(&self, room: R, member: SocketId, pass: Pass, recipient: Recipient<Told<Note>>) {
        let _gone = self.0.send(Join { room, member, pass, recipient }).await;
    }

    /// Takes a socket out of a room.
    pub async fn leave(&self, room: R, member: SocketId) {
        let _gone = self.0.send(Leave { room, member }).await;
    }

    /// Takes a socket out of all its rooms.
    pub async fn leave_all(&self, member: SocketId) {
        let _gone = self.0.send(LeaveAll(member)).await;
    }
}

/// The actor of one worker's rooms.
pub struct RoomsActor<R: RoomName> {
    rooms: HashMap<R, HashSet<SocketId>>,
    members: HashMap<SocketId, Member<R>>,
    population: Arc<AtomicUsize>,
}

struct Member<R> {
    recipient: Recipient<Told<Note>>,
    pass: Pass,
    rooms: Vec<R>,
}

/// What a socket hears of some casts.
#[derive(Default)]
struct Heard {
    emissions: Vec<Arc<Emission>>,
    /// It is sent away with the last one.
    is_last: bool,
}

impl<R: RoomName> Actor for RoomsActor<R> {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Join<R> {
    room: R,
    member: SocketId,
    pass: Pass,
    recipient: Recipient<Told<Note>>,
}

impl<R: RoomName> Handler<Join<R>> for RoomsActor<R> {
    type Result = ();

    fn handle(&mut self, Join { room, member, pass, recipient }: Join<R>, _: &mut Self::Context) {
        if self.rooms.entry(room.clone()).or_default().insert(member) {
            let entry = self.members.entry(member).or_insert(Member { recipient, pass, rooms: Vec::new() });
            entry.rooms.push(room);
            self.population.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Leave<R> {
    room: R,
    member: SocketId,
}

impl<R: RoomName> Handler<Leave<R>> for RoomsActor<R> {
    type Result = ();

    fn handle(&mut self, Leave { room, member }: Leave<R>, _: &mut Self::Context) {
        self.forget(&room, member);
        if let Some(entry) = self.members.get_mut(&member) {
            entry.rooms.retain(|other| *other != room);
            if entry.rooms.is_empty() {
                self.members.remove(&member);
            }
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct LeaveAll(SocketId);

impl<R: RoomName> Handler<LeaveAll> for RoomsActor<R> {
    type Result = ();

    fn handle(&mut self, LeaveAll(member): LeaveAll, _: &mut Self::Context) {
        self.leave_all(member);
    }
}

impl<R: RoomName> RoomsActor<R> {
    fn forget(&mut self, room: &R, member: SocketId) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        if members.remove(&member) {
            self.population.fetch_sub(1, Ordering::AcqRel);
        }
        if members.is_empty() {
            self.rooms.remove(room);
        }
    }

    fn leave_all(&mut self, member: SocketId) {
        for room in self.members.remove(&member).map(|entry| entry.rooms).unwrap_or_default() {
            self.forget(&room, member);
        }
    }

    /// What each socket hears of some casts, in order.
    fn heard(&self, casts: &[Cast<R>]) -> HashMap<SocketId, Heard> {
        let mut heard: HashMap<SocketId, Heard> = HashMap::new();
        for cast in casts {
            for (number, room) in cast.rooms.iter().enumerate() {
                let before = cast.rooms.get(..number).unwrap_or_default();
                for member in self.rooms.get(room).into_iter().flatten() {
                    let is_repeat = !before.is_empty()
                        && before
                            .iter()
                            .any(|room| self.rooms.get(room).is_some_and(|in_it| in_it.contains(member)));
                    if is_repeat || !self.is_reached(cast, *member) {
                        continue;
                    }
                    let heard = heard.entry(*member).or_default();
                    if !heard.is_last {
                        heard.emissions.push(Arc::clone(self.told(cast, *member)));
                        heard.is_last = cast.only.is_some();
                    }
                }
            }
        }
        heard
    }

    /// What a member hears of a cast.
    fn told<'a>(&self, cast: &'a Cast<R>, member: SocketId) -> &'a Arc<Emission> {
        let is_for_all = || self.members.get(&member).is_some_and(|member| member.pass == Pass::All);
        cast.for_all.as_ref().filter(|_| is_for_all()).unwrap_or(&cast.emission)
    }

    fn is_reached(&self, cast: &Cast<R>, member: SocketId) -> bool {
        cast.only.is_none() || self.members.get(&member).is_some_and(|member| cast.reaches(&member.pass))
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Broadcast<R>(Arc<[Cast<R>]>);

impl<R: RoomName> Handler<Broadcast<R>> for RoomsActor<R> {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Broadcast(casts): Broadcast<R>, _: &mut Self::Context) -> Self::Result {
        let mut late = Vec::new();
        for (to, Heard { emissions, is_last }) in self.heard(&casts) {
            let Some(member) = self.members.get(&to) else { continue };
            let note = Told(Note::Emit { to, emissions, is_last });
            // A connection whose mailbox is full has not had its turn yet: it never waits itself.
            if let Err(SendError::Full(told)) = member.recipient.try_send(note) {
                late.push(member.recipient.send(told));
            }
            if is_last {
                self.leave_all(to);
            }
        }
        let all_told = async {
            for one in late {
                let _gone = one.await;
            }
        };
        AtomicResponse::new(Box::pin(wrap_future::<_, Self>(all_told).map(|(), _, _| ())))
    }
}
