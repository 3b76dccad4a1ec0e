//! The protocol of a connection: its namespaces, and the sockets in them.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{
    AcceptedSocket, Application, ClientAck, ClientEvent, ConnectError, ConnectRefusal, ConnectRequest,
    EventOutcome, OutgoingEvent, ReviewInterval, SocketId, SocketNotice, SocketOutlet,
    namespace_socket::{NamespaceSocket, SocketStage},
    packet::{
        AssemblyError, MAX_CONNECT_BYTES, MalformedSocketPacket, PacketAssembly, PacketBody, SocketPacket,
        encode_packet,
    },
};
use crate::{
    engine::{
        ClientHandshake, CloseReason, ConnectionLink, EngineMessage, LinkTimer, OutgoingPacket, Protocol,
    },
    random::RandomSource,
};

/// How many CONNECT packets a connection may bring. A client that goes on after it has left every namespace opens a new
/// connection, and this packet is the most expensive one.
const MAX_CONNECTS: u8 = 16;

/// How many credentials may be refused on one connection.
const MAX_REFUSALS: u8 = 5;

/// The options of Socket.IO.
#[derive(Debug, Clone)]
pub struct SocketSettings {
    /// How long a client may take to say which namespace it wants.
    pub connect_timeout: Duration,
    /// Events of each socket in a second. 0: no limit.
    pub events_per_second: usize,
    /// The most bytes of an event and its attachments together.
    pub max_event_bytes: usize,
}

impl Default for SocketSettings {
    /// As Node's server, without a limit of events.
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(45), events_per_second: 0, max_event_bytes: 1_000_000 }
    }
}

/// The namespaces of an application on one worker.
pub struct NamespaceServer<A> {
    application: Rc<A>,
    settings: SocketSettings,
    random: RandomSource,
    /// Shared by all workers.
    last_socket: Arc<AtomicU64>,
}

impl<A: Application> NamespaceServer<A> {
    /// Serves an application. All workers share `last_socket`, so that no two sockets have one number.
    #[must_use]
    pub fn new(
        application: A,
        settings: SocketSettings,
        random: RandomSource,
        last_socket: Arc<AtomicU64>,
    ) -> Rc<Self> {
        Rc::new(Self { application: Rc::new(application), settings, random, last_socket })
    }

    /// The protocol of a new connection.
    #[must_use]
    pub fn protocol(self: &Rc<Self>, handshake: ClientHandshake) -> SocketProtocol<A> {
        SocketProtocol {
            server: Rc::clone(self),
            handshake: Rc::new(handshake),
            connect_timer: None,
            sockets: Vec::new(),
            connects: 0,
            refusals: 0,
            assembly: PacketAssembly::new(self.settings.max_event_bytes),
        }
    }

    fn next_id(&self) -> SocketId {
        SocketId(self.last_socket.fetch_add(1, Ordering::Relaxed))
    }
}

/// The protocol of one connection.
pub struct SocketProtocol<A: Application> {
    server: Rc<NamespaceServer<A>>,
    handshake: Rc<ClientHandshake>,
    /// Runs until a namespace accepts the client, which may leave it later and stay connected.
    connect_timer: Option<LinkTimer>,
    sockets: Vec<NamespaceSocket<A>>,
    connects: u8,
    refusals: u8,
    assembly: PacketAssembly,
}

impl<A: Application> Protocol for SocketProtocol<A> {
    type Notice = SocketNotice;

    fn opened(&mut self, link: &mut ConnectionLink<'_, Self>) {
        let timeout = self.server.settings.connect_timeout;
        self.connect_timer = Some(link.run_later(timeout, |_, link| link.close(CloseReason::ConnectTimeout)));
    }

    fn received(&mut self, message: EngineMessage, link: &mut ConnectionLink<'_, Self>) {
        match self.assembly.add(message) {
            Ok(Some(packet)) => self.receive(packet, link),
            Ok(None) => {}
            Err(AssemblyError::Malformed) => link.close_violation(MalformedSocketPacket::TEXT),
            Err(AssemblyError::OutOfOrder) => link.close_violation("Attachments do not follow their packet"),
            Err(AssemblyError::TooLarge) => link.close(CloseReason::TooLarge),
        }
    }

    fn notified(&mut self, notice: SocketNotice, link: &mut ConnectionLink<'_, Self>) {
        match notice {
            SocketNotice::EmitWithAck { to, event, reply } => {
                if let Some(socket) = self.socket(to) {
                    socket.send_with_ack(&event, reply, link);
                }
            }
            SocketNotice::Review => {
                let ids: Vec<_> = self.sockets.iter().map(NamespaceSocket::id).collect();
                ids.into_iter().for_each(|id| self.review(id, link));
            }
        }
    }

    fn closed(&mut self, _: CloseReason, _: &mut ConnectionLink<'_, Self>) {
        self.sockets.clear();
    }

    fn is_busy(&self) -> bool {
        self.sockets.iter().any(NamespaceSocket::is_busy)
    }
}

impl<A: Application> SocketProtocol<A> {
    fn socket(&mut self, id: SocketId) -> Option<&mut NamespaceSocket<A>> {
        self.sockets.iter_mut().find(|socket| socket.id() == id)
    }

    fn receive(
        &mut self,
        SocketPacket { namespace, body }: SocketPacket,
        link: &mut ConnectionLink<'_, Self>,
    ) {
        let index = self.sockets.iter().position(|socket| socket.namespace() == &*namespace);
        match (body, index) {
            (PacketBody::Connect(auth), None) => self.connect(&namespace, Some(auth), link),
            (PacketBody::LargeConnect, None) => self.connect(&namespace, None, link),
            (PacketBody::Disconnect, Some(index)) => drop(self.sockets.swap_remove(index)),
            (PacketBody::Connect(_) | PacketBody::LargeConnect, Some(_)) => {
                link.close_violation("A second CONNECT");
            }
            (body, Some(index)) => {
                let connected = self.sockets.get_mut(index).filter(|socket| socket.is_connected());
                let Some(socket) = connected else {
                    return link.close_violation("A packet before CONNECT was answered");
                };
                match body {
                    PacketBody::Event(event) => self.event(index, event, link),
                    PacketBody::Ack { id, args, attachments } => {
                        socket.acknowledged(id, ClientAck { args, attachments });
                    }
                    PacketBody::Connect(_) | PacketBody::LargeConnect | PacketBody::Disconnect => {}
                }
            }
            (_, None) => link.close_violation("A packet to a namespace without a CONNECT before it"),
        }
    }

    /// A client wants to connect. Its credentials are missing if they are too large to be read.
    fn connect(
        &mut self,
        namespace: &str,
        auth: Option<Map<String, Value>>,
        link: &mut ConnectionLink<'_, Self>,
    ) {
        if self.connects >= MAX_CONNECTS || self.refusals >= MAX_REFUSALS {
            return link.close(CloseReason::TooOften);
        }
        self.connects += 1;
        let known = A::NAMESPACES.iter().find(|known| **known == namespace);
        let Some(&namespace) = known else {
            let refusal = r#"{"message":"Invalid namespace"}"#;
            return link.send(OutgoingPacket::text(&encode_packet('4', 0, namespace, None, refusal)));
        };
        let Some(auth) = auth else {
            return self.refuse(namespace, self.server.application.too_large(MAX_CONNECT_BYTES), link);
        };
        let id = self.server.next_id();
        // A vector that grows by itself allocates room for four.
        self.sockets.reserve_exact(1);
        let outlet = SocketOutlet::new(id, namespace, link.outlet());
        self.sockets.push(NamespaceSocket::new(Rc::clone(&outlet)));
        let (handshake, recipient) = (Rc::clone(&self.handshake), link.recipient());
        let request = ConnectRequest { namespace, auth, handshake, outlet, recipient };
        let decision = self.server.application.connect(request);
        link.run(decision, move |protocol, decision, link| protocol.decided(id, decision, link));
    }

    fn decided(
        &mut self,
        id: SocketId,
        decision: Result<AcceptedSocket<A::Socket>, ConnectError>,
        link: &mut ConnectionLink<'_, Self>,
    ) {
        let Some(index) = self.sockets.iter().position(|socket| socket.id() == id) else { return };
        let Some(socket) = self.sockets.get_mut(index) else { return };
        match decision {
            Ok(mut accepted) => {
                if let Some(timer) = self.connect_timer.take() {
                    link.cancel(timer);
                }
                let sid = self.server.random.id();
                let welcome = match &accepted.pid {
                    Some(pid) => json!({ "sid": sid, "pid": pid }),
                    None => json!({ "sid": sid }),
                };
                let packet = encode_packet('0', 0, socket.namespace(), None, &welcome.to_string());
                link.send(OutgoingPacket::text(&packet));
                let review_interval = accepted.review_interval.take();
                socket.accept(accepted);
                if let Some(interval) = review_interval {
                    Self::review_later(id, interval, link);
                }
            }
            Err(ConnectError::Refused(refusal)) => {
                let namespace = self.sockets.swap_remove(index).namespace();
                self.refuse(namespace, refusal, link);
            }
            Err(ConnectError::NotNow) => {
                self.sockets.swap_remove(index);
                link.hold();
            }
        }
    }

    fn refuse(
        &mut self,
        namespace: &str,
        ConnectRefusal { message, data }: ConnectRefusal,
        link: &mut ConnectionLink<'_, Self>,
    ) {
        let refusal = json!({ "message": message, "data": data }).to_string();
        link.send(OutgoingPacket::text(&encode_packet('4', 0, namespace, None, &refusal)));
        self.refusals += 1;
    }

    fn event(&mut self, index: usize, event: ClientEvent, link: &mut ConnectionLink<'_, Self>) {
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let application = &self.server.application;
        let apart = application.is_metered_apart(&event);
        if let Err(retry_after_ms) = socket.meter(apart, self.server.settings.events_per_second) {
            let refusal = application.too_many(retry_after_ms);
            match event.id {
                Some(id) => {
                    let args = json!([refusal]).to_string();
                    let ack = encode_packet('3', 0, socket.namespace(), Some(id), &args);
                    link.send(OutgoingPacket::text(&ack));
                }
                None => socket.outlet.send(&Arc::new(OutgoingEvent::new("error", &refusal))),
            }
            return;
        }
        let next = socket.enqueue(event);
        self.handle(index, next, link);
    }

    /// Lets the application handle an event.
    fn handle(
        &mut self,
        index: usize,
        next: Option<(A::Socket, ClientEvent)>,
        link: &mut ConnectionLink<'_, Self>,
    ) {
        let Some((socket, event)) = next else { return };
        let Some(id) = self.sockets.get(index).map(NamespaceSocket::id) else { return };
        let ack_id = event.id;
        let handling = self.server.application.event(socket, event);
        link.run(handling, move |protocol, (state, outcome), link| {
            let Some(index) = protocol.sockets.iter().position(|socket| socket.id() == id) else { return };
            let Some(socket) = protocol.sockets.get_mut(index) else { return };
            socket.stage = SocketStage::Idle(state);
            Self::send_outcome(socket, ack_id, outcome, link);
            if socket.is_review_due {
                protocol.review(id, link);
            }
            let next = protocol.sockets.get_mut(index).and_then(NamespaceSocket::next_event);
            protocol.handle(index, next, link);
        });
    }

    fn send_outcome(
        socket: &mut NamespaceSocket<A>,
        ack_id: Option<u64>,
        outcome: EventOutcome,
        link: &mut ConnectionLink<'_, Self>,
    ) {
        for event in &outcome.emit {
            socket.outlet.send(event);
        }
        if let (Some(id), Some(args)) = (ack_id, outcome.ack) {
            let kind = if outcome.attachments.is_empty() { '3' } else { '6' };
            let text = encode_packet(kind, outcome.attachments.len(), socket.namespace(), Some(id), &args);
            link.send(OutgoingPacket::text(&text));
            outcome.attachments.iter().for_each(|bytes| link.send(OutgoingPacket::binary(bytes)));
        }
    }

    /// Checks a socket's rights again and again.
    fn review_later(id: SocketId, interval: ReviewInterval, link: &mut ConnectionLink<'_, Self>) {
        link.run_later(interval(), move |protocol, link| {
            if protocol.socket(id).is_some() {
                protocol.review(id, link);
                Self::review_later(id, interval, link);
            }
        });
    }

    /// Checks whether a socket may stay: now, or when its current event is done.
    fn review(&mut self, id: SocketId, link: &mut ConnectionLink<'_, Self>) {
        let application = Rc::clone(&self.server.application);
        let Some(socket) = self.socket(id) else { return };
        socket.is_review_due = !matches!(socket.stage, SocketStage::Idle(_));
        let SocketStage::Idle(state) = &socket.stage else { return };
        if let Err(refusal) = application.review(state) {
            socket.outlet.send(&Arc::new(OutgoingEvent::new("error", &refusal)));
            link.close(CloseReason::Refused);
        }
    }
}
