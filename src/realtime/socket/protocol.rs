//! What a connection speaks: its namespaces, and the sockets in them.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use amoiq_events::Ambient;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{
    Accepted, Application, Connecting, Emission, Event, Outcome,
    application::{ConnectError, Refusal},
    member::{Member, Stage},
    packet::{Body, MAX_CONNECT_BYTES, Malformed, Packet, encode},
};
use crate::realtime::engine::{CloseReason, Data, Handshake, Link, Outgoing, Protocol, Timer};

mod review;

/// How often a client may ask to be let in over one connection. One that goes on after it has left every
/// namespace opens a new one, and this is the packet that costs most.
const MAX_CONNECTS: u8 = 16;

/// How many credentials may be refused on one connection.
const MAX_REFUSALS: u8 = 5;

/// Tells the sockets of a process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// What a server of this protocol can be told.
#[derive(Debug, Clone)]
pub struct SocketSettings {
    /// How long a client may take to say which namespace it wants.
    pub connect_timeout: Duration,
    /// Events a second of each socket. 0: no limit.
    pub events_per_second: usize,
    /// The most bytes of an event and its attachments together.
    pub max_event_bytes: usize,
}

impl Default for SocketSettings {
    /// What Node's server does, and no limit of events.
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(45), events_per_second: 0, max_event_bytes: 1_000_000 }
    }
}

/// Where connections get what they speak, on one worker.
pub struct Sockets<A> {
    application: Rc<A>,
    settings: SocketSettings,
    ambient: Ambient,
    /// Over all workers.
    numbers: Arc<AtomicU64>,
}

impl<A: Application> Sockets<A> {
    /// Sockets of an application. `numbers` is shared by all workers.
    #[must_use]
    pub fn new(
        application: A,
        settings: SocketSettings,
        ambient: Ambient,
        numbers: Arc<AtomicU64>,
    ) -> Rc<Self> {
        Rc::new(Self { application: Rc::new(application), settings, ambient, numbers })
    }

    /// What a new connection speaks.
    #[must_use]
    pub fn speak(self: &Rc<Self>, handshake: Handshake) -> SocketProtocol<A> {
        SocketProtocol {
            sockets: Rc::clone(self),
            handshake: Rc::new(handshake),
            connect_timer: None,
            members: Vec::new(),
            connects: 0,
            refusals: 0,
            assembly: None,
        }
    }

    fn number(&self) -> SocketId {
        SocketId(self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}

/// What others tell a connection.
pub enum Note {
    /// Events for one of its sockets.
    Emit {
        /// Which.
        to: SocketId,
        /// In order.
        emissions: Vec<Arc<Emission>>,
        /// Its connection ends with them.
        is_last: bool,
    },
    /// An event that a socket has to acknowledge. Nothing is answered when it is gone or owes too many.
    Ask {
        /// Which.
        to: SocketId,
        /// What.
        emission: Arc<Emission>,
        /// Where the acknowledgement goes.
        reply: oneshot::Sender<Answer>,
    },
    /// The rights of clients have changed.
    Review,
}

/// What a client acknowledged with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// A JSON array.
    pub args: ByteString,
    /// Binary, where the array has placeholders.
    pub attachments: Vec<Bytes>,
}

/// What a connection speaks.
pub struct SocketProtocol<A: Application> {
    sockets: Rc<Sockets<A>>,
    handshake: Rc<Handshake>,
    /// Until the client takes part in a namespace: it may leave that again and stay.
    connect_timer: Option<Timer>,
    members: Vec<Member<A>>,
    /// How often the client asked to be let in.
    connects: u8,
    /// How often it was refused.
    refusals: u8,
    /// A packet whose attachments have yet to come.
    assembly: Option<Box<Assembly>>,
}

struct Assembly {
    packet: Packet,
    missing: usize,
    bytes: usize,
}

/// Why a message is no packet.
enum Unread {
    Malformed,
    Unordered,
    TooLarge,
}

impl<A: Application> Protocol for SocketProtocol<A> {
    type Note = Note;

    fn opened(&mut self, link: &mut Link<'_, Self>) {
        let patience = self.sockets.settings.connect_timeout;
        self.connect_timer = Some(link.later(patience, |_, link| link.close(CloseReason::ConnectTimeout)));
    }

    fn received(&mut self, data: Data, link: &mut Link<'_, Self>) {
        let packet = match data {
            Data::Text(text) => self.decode(&text),
            Data::Binary(bytes) => self.attach(bytes),
        };
        match packet {
            Ok(Some(packet)) => self.take(packet, link),
            Ok(None) => {}
            Err(Unread::Malformed) => link.violated(Malformed::TEXT),
            Err(Unread::Unordered) => link.violated("Attachments do not follow their packet"),
            Err(Unread::TooLarge) => link.close(CloseReason::TooLarge),
        }
    }

    fn noted(&mut self, note: Note, link: &mut Link<'_, Self>) {
        match note {
            Note::Emit { to, emissions, is_last } => {
                let Some(member) = self.member(to) else { return };
                for emission in &emissions {
                    member.hear(emission, link);
                }
                if is_last {
                    link.close(CloseReason::Refused);
                }
            }
            Note::Ask { to, emission, reply } => {
                if let Some(member) = self.member(to) {
                    member.ask(&emission, reply, link);
                }
            }
            Note::Review => {
                let all: Vec<_> = self.members.iter().map(|member| member.id).collect();
                all.into_iter().for_each(|id| self.review(id, link));
            }
        }
    }

    fn closed(&mut self, _: CloseReason, _: &mut Link<'_, Self>) {
        self.members.clear();
    }

    fn is_busy(&self) -> bool {
        self.members.iter().any(Member::is_busy)
    }
}

impl<A: Application> SocketProtocol<A> {
    fn member(&mut self, id: SocketId) -> Option<&mut Member<A>> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn decode(&mut self, text: &ByteString) -> Result<Option<Packet>, Unread> {
        if self.assembly.is_some() {
            return Err(Unread::Unordered);
        }
        let decoded = Packet::decode(text).map_err(|Malformed| Unread::Malformed)?;
        if decoded.attachments == 0 {
            return Ok(Some(decoded.packet));
        }
        let (packet, missing) = (decoded.packet, decoded.attachments);
        self.assembly = Some(Box::new(Assembly { packet, missing, bytes: text.len() }));
        Ok(None)
    }

    fn attach(&mut self, attachment: Bytes) -> Result<Option<Packet>, Unread> {
        let mut assembly = self.assembly.take().ok_or(Unread::Unordered)?;
        assembly.bytes += attachment.len();
        if assembly.bytes > self.sockets.settings.max_event_bytes {
            return Err(Unread::TooLarge);
        }
        assembly.packet.attach(attachment);
        assembly.missing -= 1;
        if assembly.missing == 0 {
            return Ok(Some(assembly.packet));
        }
        self.assembly = Some(assembly);
        Ok(None)
    }

    fn take(&mut self, Packet { namespace, body }: Packet, link: &mut Link<'_, Self>) {
        let place = self.members.iter().position(|member| member.namespace == &*namespace);
        match (body, place) {
            (Body::Connect(auth), None) => self.connect(&namespace, Some(auth), link),
            (Body::LargeConnect, None) => self.connect(&namespace, None, link),
            (Body::Disconnect, Some(place)) => drop(self.members.swap_remove(place)),
            (Body::Connect(_) | Body::LargeConnect, Some(_)) => link.violated("A second CONNECT"),
            (body, Some(place)) => {
                let Some(member) = self.members.get_mut(place).filter(|member| member.is_connected()) else {
                    return link.violated("A packet before CONNECT was answered");
                };
                match body {
                    Body::Event(event) => self.event(place, event, link),
                    Body::Ack { id, args, attachments } => member.answered(id, Answer { args, attachments }),
                    Body::Connect(_) | Body::LargeConnect | Body::Disconnect => {}
                }
            }
            (_, None) => link.violated("A packet to a namespace without a CONNECT before it"),
        }
    }

    /// A client wants to take part; without credentials where they are too many to be read.
    fn connect(&mut self, namespace: &str, auth: Option<Map<String, Value>>, link: &mut Link<'_, Self>) {
        if self.connects >= MAX_CONNECTS || self.refusals >= MAX_REFUSALS {
            return link.close(CloseReason::TooOften);
        }
        self.connects += 1;
        let known = A::NAMESPACES.iter().find(|known| **known == namespace);
        let Some(&namespace) = known else {
            let refusal = r#"{"message":"Invalid namespace"}"#;
            return link.send(Outgoing::Text(encode('4', 0, namespace, None, refusal)));
        };
        let Some(auth) = auth else {
            return self.refuse(namespace, self.sockets.application.too_large(MAX_CONNECT_BYTES), link);
        };
        let socket = self.sockets.number();
        // A vector that grows by itself begins with places for four.
        self.members.reserve_exact(1);
        self.members.push(Member::new(socket, namespace));
        let (handshake, recipient) = (Rc::clone(&self.handshake), link.recipient());
        let connecting = Connecting { namespace, auth, handshake, socket, recipient };
        let decision = self.sockets.application.connect(connecting);
        link.run(decision, move |protocol, decision, link| protocol.decided(socket, decision, link));
    }

    fn decided(
        &mut self,
        socket: SocketId,
        decision: Result<Accepted<A::Socket>, ConnectError>,
        link: &mut Link<'_, Self>,
    ) {
        let Some(place) = self.members.iter().position(|member| member.id == socket) else { return };
        let Some(member) = self.members.get_mut(place) else { return };
        match decision {
            Ok(mut accepted) => {
                if let Some(timer) = self.connect_timer.take() {
                    link.stop(timer);
                }
                let sid = URL_SAFE_NO_PAD.encode(self.sockets.ambient.bytes::<15>());
                let welcome = match &accepted.pid {
                    Some(pid) => json!({ "sid": sid, "pid": pid }),
                    None => json!({ "sid": sid }),
                };
                link.send(Outgoing::Text(encode('0', 0, member.namespace, None, &welcome.to_string())));
                let review_after = accepted.review_after.take();
                member.accept(accepted, link);
                if let Some(review_after) = review_after {
                    Self::review_later(socket, review_after, link);
                }
            }
            Err(ConnectError::Refused(refusal)) => {
                let namespace = self.members.swap_remove(place).namespace;
                self.refuse(namespace, refusal, link);
            }
            Err(ConnectError::NotNow) => {
                self.members.swap_remove(place);
                link.hold();
            }
        }
    }

    fn refuse(&mut self, namespace: &str, Refusal { message, data }: Refusal, link: &mut Link<'_, Self>) {
        let refusal = json!({ "message": message, "data": data }).to_string();
        link.send(Outgoing::Text(encode('4', 0, namespace, None, &refusal)));
        self.refusals += 1;
    }

    fn event(&mut self, place: usize, event: Event, link: &mut Link<'_, Self>) {
        let Some(member) = self.members.get_mut(place) else { return };
        let application = &self.sockets.application;
        let apart = application.is_metered_apart(&event);
        if let Err(retry_after_ms) = member.meter(apart, self.sockets.settings.events_per_second) {
            let refusal = application.too_many(retry_after_ms);
            match event.id {
                Some(id) => link.send(ack(member.namespace, id, &json!([refusal]).to_string())),
                None => member.emit(&Arc::new(Emission::new("error", &refusal)), link),
            }
            return;
        }
        let work = member.enqueue(event);
        self.work(place, work, link);
    }

    /// Lets the application handle an event.
    fn work(&mut self, place: usize, work: Option<(A::Socket, Event)>, link: &mut Link<'_, Self>) {
        let Some((socket, event)) = work else { return };
        let Some(member) = self.members.get(place) else { return };
        let (id, ask) = (member.id, event.id);
        let handling = self.sockets.application.event(socket, event);
        link.run(handling, move |protocol, (socket, outcome), link| {
            protocol.done(id, ask, socket, outcome, link);
        });
    }

    fn done(
        &mut self,
        id: SocketId,
        ask: Option<u64>,
        socket: A::Socket,
        outcome: Outcome,
        link: &mut Link<'_, Self>,
    ) {
        let Some(place) = self.members.iter().position(|member| member.id == id) else { return };
        let Some(member) = self.members.get_mut(place) else { return };
        member.stage = Stage::Idle(socket);
        for emission in &outcome.emit {
            member.emit(emission, link);
        }
        if let (Some(ask), Some(args)) = (ask, outcome.ack) {
            let kind = if outcome.attachments.is_empty() { '3' } else { '6' };
            let text = encode(kind, outcome.attachments.len(), member.namespace, Some(ask), &args);
            link.send(Outgoing::Text(text));
            outcome.attachments.into_iter().for_each(|bytes| link.send(Outgoing::Binary(bytes)));
        }
        if member.review_due {
            self.review(id, link);
        }
        let next = self.members.get_mut(place).and_then(Member::next);
        self.work(place, next, link);
    }
}

fn ack(namespace: &str, id: u64, args: &str) -> Outgoing {
    Outgoing::Text(encode('3', 0, namespace, Some(id), args))
}
