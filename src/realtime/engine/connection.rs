//! The actor of one connection: it owns the heartbeat, the outbox and what is spoken, and outlives the
//! transport that carries it.
//!
//! [`super::route`] starts it on the worker that accepted the client. It never waits: a transport is
//! handed one batch and the next when it asks, and what a protocol does beside it runs as a future of
//! its own. So its timers fire however slow the client is, and the client is cut when its outbox is
//! full ([`CloseReason::TooSlow`]).

use std::{sync::Arc, time::Duration};

use actix::{
    fut::{ActorFutureExt, wrap_future},
    prelude::*,
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    CloseReason, Data, Link, Outgoing, Protocol,
    heartbeat::{Beat, Heartbeat},
    link::Told,
    metrics::Transport,
    outbox::Outbox,
    packet::Packet,
    polling::Polling,
    route::Shared,
    sessions::{Sid, Ticket},
    websocket::{Batch, Hangup, Pump, PumpId, close_frame, hang_up},
};

/// How many messages wait for a connection. At the bound senders wait; they are its transports, which
/// stop reading then, and rooms.
const MAILBOX: usize = 64;

/// How long a polling client that has no poll open may take to fetch what is left for it.
const FAREWELL: Duration = Duration::from_secs(5);

/// The actor of one connection.
pub struct Connection<P: Protocol> {
    pub(super) wire: Wire<P>,
    protocol: P,
}

/// Everything of a connection but what is spoken over it.
pub(super) struct Wire<P: Protocol> {
    pub(super) sid: Sid,
    pub(super) shared: Arc<Shared<P>>,
    pub(super) line: Line<P>,
    pub(super) upgrade: Option<Upgrade<P>>,
    pub(super) outbox: Outbox,
    pub(super) heartbeat: Heartbeat,
    timer: SpawnHandle,
    /// Whether the client is kept without an answer: the service has no room for it.
    is_held: bool,
    /// Why it is to end, once the protocol's method returns.
    closing: Option<CloseReason>,
    /// What the client did against the protocol, when that is why.
    pub(super) fault: Option<&'static str>,
    pub(super) ended: Option<CloseReason>,
    /// Transports that are not read on before the protocol is ready for more.
    pub(super) paused: Vec<oneshot::Sender<()>>,
}

/// The transport in use.
pub(super) enum Line<P: Protocol> {
    /// Boxed: most connections are websockets, and this is the larger part.
    Polling(Box<Polling>),
    /// Whether the pump has a batch that it did not write yet.
    WebSocket { pump: Addr<Pump<P>>, id: PumpId, is_writing: bool },
}

/// A websocket that wants to take over from polling.
pub(super) struct Upgrade<P: Protocol> {
    pub(super) pump: Addr<Pump<P>>,
    pub(super) id: PumpId,
    pub(super) is_probed: bool,
}

impl<P: Protocol> Connection<P> {
    /// Starts a connection whose client polls. It holds the client's place itself.
    pub(super) fn start_polling(shared: Arc<Shared<P>>, sid: Sid, protocol: P, ticket: Ticket) -> Addr<Self> {
        let is_held = ticket.is_held();
        Self::start_on(shared, sid, protocol, Line::Polling(Box::new(Polling::new(ticket))), is_held)
    }

    /// Starts a connection behind a websocket, which holds the client's place.
    pub(super) fn start_websocket(
        shared: Arc<Shared<P>>,
        sid: Sid,
        protocol: P,
        pump: Addr<Pump<P>>,
        id: PumpId,
        is_held: bool,
    ) -> Addr<Self> {
        Self::start_on(shared, sid, protocol, Line::WebSocket { pump, id, is_writing: false }, is_held)
    }

    fn start_on(shared: Arc<Shared<P>>, sid: Sid, protocol: P, line: Line<P>, is_held: bool) -> Addr<Self> {
        let settings = &shared.settings;
        let outbox = Outbox::new(settings.outbox_bytes, Arc::clone(&shared.metrics));
        let heartbeat = Heartbeat::new(Instant::now(), settings.ping_interval, settings.ping_timeout);
        let sessions = Arc::clone(&shared.sessions);
        shared.metrics.opened(line.transport());
        let name = sid.clone();
        let address = Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let wire = Wire {
                sid,
                shared,
                line,
                upgrade: None,
                outbox,
                heartbeat,
                timer: SpawnHandle::default(),
                is_held,
                closing: None,
                fault: None,
                ended: None,
                paused: Vec::new(),
            };
            Self { wire, protocol }
        });
        sessions.insert(name, address.clone());
        address
    }

    /// Lets the protocol do something, and does what follows from it.
    pub(super) fn with(&mut self, ctx: &mut Context<Self>, work: impl FnOnce(&mut P, &mut Link<'_, P>)) {
        if self.wire.ended.is_some() || self.wire.is_held {
            return;
        }
        work(&mut self.protocol, &mut Link { wire: &mut self.wire, ctx });
        self.settle(ctx);
    }

    /// Does what is due: ends the connection, or hands over what waits.
    pub(super) fn settle(&mut self, ctx: &mut Context<Self>) {
        if let Some(reason) = self.wire.closing.take() {
            return self.close(reason, ctx);
        }
        self.wire.flush(ctx);
        if !self.protocol.is_busy() {
            self.wire.resume();
        }
    }

    /// Ends the connection.
    pub(super) fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        if self.wire.ended.is_some() {
            return;
        }
        self.wire.ended = Some(reason);
        self.wire.shared.metrics.ended(self.wire.line.transport(), reason);
        if self.wire.is_held {
            self.wire.shared.metrics.released();
        }
        // Whoever is attacked needs no line for each of the attacker's connections: they are counted.
        if reason == CloseReason::TooSlow {
            tracing::info!(reason = reason.name(), sid = self.wire.sid.as_str(), "a slow reader was cut");
        } else {
            let (sid, fault) = (self.wire.sid.as_str(), self.wire.fault);
            tracing::debug!(reason = reason.name(), sid, fault, "a connection ended");
        }
        ctx.cancel_future(self.wire.timer);
        self.protocol.closed(reason, &mut Link { wire: &mut self.wire, ctx });
        self.wire.resume();
        self.wire.hang_up(reason, ctx);
    }

    /// Takes in one packet of the transport in use.
    pub(super) fn take_in(&mut self, packet: Packet, ctx: &mut Context<Self>) {
        match packet {
            Packet::Close => self.close(CloseReason::ClientLeft, ctx),
            // One that nobody asked for costs no timer: a payload may bring thousands.
            Packet::Pong if self.wire.heartbeat.answered(Instant::now()) => self.beat(ctx),
            Packet::Pong => {}
            Packet::Message(data) => self.with(ctx, |protocol, link| protocol.received(data, link)),
            Packet::Probe | Packet::Upgrade => {
                self.violated("A packet of an upgrade that does not take place", ctx)
            }
        }
    }

    /// Ends the connection of a client that broke the protocol.
    pub(super) fn violated(&mut self, fault: &'static str, ctx: &mut Context<Self>) {
        self.wire.fault.get_or_insert(fault);
        self.close(CloseReason::Malformed, ctx);
    }

    /// Whether the transport has to wait before it brings more.
    pub(super) fn pause(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.wire.ended.is_some() || !self.protocol.is_busy() {
            return None;
        }
        let (resume, paused) = oneshot::channel();
        self.wire.paused.push(resume);
        Some(paused)
    }

    /// Ends a connection whose client has not answered in time, even where the timer is late.
    pub(super) fn check_heartbeat(&mut self, ctx: &mut Context<Self>) {
        if self.wire.heartbeat.is_over(Instant::now()) {
            self.close(CloseReason::PingTimeout, ctx);
        }
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        ctx.cancel_future(self.wire.timer);
        let mut beat = self.wire.heartbeat.beat(Instant::now());
        if beat == Beat::Ping {
            self.wire.push(Outgoing::PING);
            beat = self.wire.heartbeat.beat(Instant::now());
            self.settle(ctx);
        }
        match beat {
            Beat::Wait(until) if self.wire.ended.is_none() => {
                let delay = until.saturating_duration_since(Instant::now());
                self.wire.timer = ctx.run_later(delay, Self::beat);
            }
            Beat::Dead => self.close(CloseReason::PingTimeout, ctx),
            Beat::Wait(_) | Beat::Ping => {}
        }
    }
}

impl<P: Protocol> Actor for Connection<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.beat(ctx);
        if self.wire.is_held {
            self.wire.hold(ctx);
        } else {
            self.with(ctx, |protocol, link| protocol.opened(link));
        }
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        // The worker ended before the connection did.
        self.close(CloseReason::ShuttingDown, ctx);
        self.wire.shared.sessions.remove(&self.wire.sid);
    }
}

impl<P: Protocol> Handler<Told<P::Note>> for Connection<P> {
    type Result = ();

    fn handle(&mut self, Told(note): Told<P::Note>, ctx: &mut Self::Context) {
        self.with(ctx, |protocol, link| protocol.noted(note, link));
    }
}

/// The connection is to end.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct End(pub(super) CloseReason);

impl<P: Protocol> Handler<End> for Connection<P> {
    type Result = ();

    fn handle(&mut self, End(reason): End, ctx: &mut Self::Context) {
        self.close(reason, ctx);
    }
}

impl<P: Protocol> Wire<P> {
    pub(super) fn push(&mut self, packet: Outgoing) {
        if self.outbox.push(packet).is_err() {
            self.close_after(CloseReason::TooSlow);
        }
    }

    pub(super) fn push_shared(&mut self, packet: Outgoing) {
        if self.outbox.push_shared(packet).is_err() {
            self.close_after(CloseReason::TooSlow);
        }
    }

    pub(super) fn close_after(&mut self, reason: CloseReason) {
        self.closing.get_or_insert(reason);
    }

    /// What the client did wrong, when that is why it is sent away.
    pub(super) fn violated(&mut self, fault: &'static str) {
        self.fault.get_or_insert(fault);
        self.close_after(CloseReason::Malformed);
    }

    /// Keeps the client without an answer for a while, then ends the connection. socket.io-client takes a
    /// connection that ends before it was let in for a success: it comes back for ever, as soon as it may, and so
    /// the wait is here.
    pub(super) fn hold(&mut self, ctx: &mut Context<Connection<P>>) {
        self.is_held = true;
        self.shared.metrics.held();
        let delay = self.shared.hold();
        ctx.run_later(delay, |connection, ctx| connection.close(CloseReason::Overloaded, ctx));
    }

    pub(super) fn resume(&mut self) {
        for paused in self.paused.drain(..) {
            // A transport that is gone does not wait.
            let _gone = paused.send(());
        }
    }

    /// Hands what waits to the transport, if it is ready.
    pub(super) fn flush(&mut self, ctx: &mut Context<Connection<P>>) {
        match &mut self.line {
            _ if self.outbox.is_empty() => {}
            Line::Polling(polling) => polling.flush(&mut self.outbox),
            Line::WebSocket { is_writing: true, .. } => {}
            Line::WebSocket { pump, id, is_writing } => {
                *is_writing = true;
                let id = *id;
                let written = wrap_future::<_, Connection<P>>(pump.send(Batch(self.outbox.take_batch())));
                ctx.spawn(written.map(move |result, connection, ctx| {
                    connection.written(id, result.is_ok(), ctx);
                }));
            }
        }
    }

    /// Tells the client and lets go of the transport.
    fn hang_up(&mut self, reason: CloseReason, ctx: &mut Context<Connection<P>>) {
        if let Some(upgrade) = self.upgrade.take() {
            hang_up(&upgrade.pump, Hangup::silent());
        }
        let is_patient = matches!(reason, CloseReason::Refused | CloseReason::ShuttingDown);
        match &mut self.line {
            Line::WebSocket { pump, .. } => {
                let packets = if is_patient { self.outbox.take_bound() } else { Default::default() };
                let text = self.fault.filter(|_| reason == CloseReason::Malformed).unwrap_or(reason.text());
                hang_up(pump, Hangup { packets, close: close_frame(reason, text) });
                ctx.stop();
            }
            Line::Polling(polling) => {
                // In a worker that ends there are no timers any more, and nobody who fetches anything.
                if ctx.state().alive() && (is_patient || reason == CloseReason::ClientLeft) {
                    ctx.run_later(FAREWELL, |_, ctx| ctx.stop());
                }
                if polling.hang_up(reason, &mut self.outbox) {
                    ctx.stop();
                }
            }
        }
    }
}

impl<P: Protocol> Connection<P> {
    fn written(&mut self, pump: PumpId, is_written: bool, ctx: &mut Context<Self>) {
        match &mut self.wire.line {
            Line::WebSocket { id, is_writing, .. } if *id == pump => *is_writing = false,
            _ => return,
        }
        if is_written {
            self.wire.flush(ctx);
        } else {
            self.close(CloseReason::TransportLost, ctx);
        }
    }
}

impl<P: Protocol> Line<P> {
    fn transport(&self) -> Transport {
        match self {
            Self::Polling(_) => Transport::Polling,
            Self::WebSocket { .. } => Transport::WebSocket,
        }
    }
}

/// What a message of a websocket is to a connection: [`Data`] of text still has its type digit.
pub(super) fn packet_of(data: Data) -> Result<Packet, super::packet::Malformed> {
    match data {
        Data::Text(text) => Packet::decode_text(&text),
        binary @ Data::Binary(_) => Ok(Packet::Message(binary)),
    }
}
