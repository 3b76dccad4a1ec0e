//! The actor of one connection. It owns the heartbeat, the send queue and the protocol, and outlives the transport
//! under it.
//!
//! It runs on the worker that accepted the client and never waits: it hands a transport one batch and the next when the
//! transport asks, and what a protocol does on the side runs as a future of its own. So its timers fire however slow
//! the client is, and it cuts the client when the queue is full ([`CloseReason::TooSlow`]).

use std::{sync::Arc, time::Duration};

use actix::{
    fut::{ActorFutureExt, wrap_future},
    prelude::*,
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    CloseReason, EngineMessage, EnginePacket, OutgoingPacket,
    connection_limits::ConnectionPermit,
    engine_state::{EngineSid, EngineState},
    heartbeat::{Heartbeat, HeartbeatAction},
    metrics::Transport,
    send_queue::SendQueue,
};

mod link;
mod new_connection;
mod polling;
mod websocket;

pub use link::{ConnectionLink, ConnectionNotice, LinkTimer, Protocol};
pub(super) use new_connection::NewConnection;
use polling::PollingTransport;
pub(super) use polling::{PollAbandoned, PollStarted, PollingError, PostReceived, PostStarted};
use websocket::{CloseWebSocket, PacketBatch, close_frame};
pub(super) use websocket::{WebSocketPump, WebSocketRole};

/// How many notices wait for a connection. At the bound their senders wait: its transports, which stop reading then,
/// and rooms.
const MAILBOX: usize = 64;

/// How long a polling client without an open poll may take to fetch its last packets.
const LAST_POLL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the connections of an engine share.
pub(super) type SharedState<P> = EngineState<Addr<EngineConnection<P>>>;

/// The actor of one connection.
pub struct EngineConnection<P: Protocol> {
    state: ConnectionState<P>,
    protocol: P,
}

/// Everything of a connection except its protocol.
struct ConnectionState<P: Protocol> {
    sid: EngineSid,
    engine: Arc<SharedState<P>>,
    transport: ActiveTransport<P>,
    upgrade: Option<PendingUpgrade<P>>,
    queue: SendQueue,
    heartbeat: Heartbeat,
    timer: SpawnHandle,
    /// Whether the client is kept without an answer because the server has no room for it.
    is_held: bool,
    /// Why the connection closes after the current method of the protocol.
    closing: Option<CloseReason>,
    /// How the client broke the protocol, when that is why.
    violation: Option<&'static str>,
    closed: Option<CloseReason>,
    /// Transports that read no more until the protocol is ready.
    paused: Vec<oneshot::Sender<()>>,
}

/// The transport in use.
pub(super) enum ActiveTransport<P: Protocol> {
    /// Boxed: most connections are websockets, and this is larger.
    Polling(Box<PollingTransport>),
    /// `is_writing`: the pump has a batch that it has not written yet.
    WebSocket { pump: Addr<WebSocketPump<P>>, id: u64, is_writing: bool },
}

/// A websocket that wants to take over from polling.
struct PendingUpgrade<P: Protocol> {
    pump: Addr<WebSocketPump<P>>,
    id: u64,
    is_probed: bool,
}

impl<P: Protocol> ActiveTransport<P> {
    /// A client that polls. The transport owns the client's permit; a websocket's pump owns it itself.
    pub(super) fn polling(permit: ConnectionPermit) -> Self {
        Self::Polling(Box::new(PollingTransport::new(permit)))
    }

    fn kind(&self) -> Transport {
        match self {
            Self::Polling(_) => Transport::Polling,
            Self::WebSocket { .. } => Transport::WebSocket,
        }
    }
}

impl<P: Protocol> EngineConnection<P> {
    /// Starts a connection on the current worker.
    pub(super) fn start(
        engine: Arc<SharedState<P>>,
        new: NewConnection<P>,
        transport: ActiveTransport<P>,
        is_held: bool,
    ) -> Addr<Self> {
        let NewConnection { sid, protocol, .. } = new;
        let settings = &engine.settings;
        let queue = SendQueue::new(settings.queue_bytes, Arc::clone(&engine.metrics));
        let heartbeat = Heartbeat::new(Instant::now(), settings.ping_interval, settings.ping_timeout);
        engine.metrics.opened(transport.kind());
        let state = ConnectionState {
            sid: sid.clone(),
            engine: Arc::clone(&engine),
            transport,
            upgrade: None,
            queue,
            heartbeat,
            timer: SpawnHandle::default(),
            is_held,
            closing: None,
            violation: None,
            closed: None,
            paused: Vec::new(),
        };
        let address = Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self { state, protocol }
        });
        engine.connections.insert(sid, address.clone());
        address
    }

    /// Calls a method of the protocol and does what follows from it.
    fn with_protocol(
        &mut self,
        ctx: &mut Context<Self>,
        call: impl FnOnce(&mut P, &mut ConnectionLink<'_, P>),
    ) {
        if self.state.closed.is_some() || self.state.is_held {
            return;
        }
        call(&mut self.protocol, &mut ConnectionLink { state: &mut self.state, ctx });
        self.settle(ctx);
    }

    /// Closes the connection if that is due, otherwise sends what waits.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        if let Some(reason) = self.state.closing.take() {
            return self.close(reason, ctx);
        }
        self.state.flush(ctx);
        if !self.protocol.is_busy() {
            self.state.resume_transports();
        }
    }

    fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        if self.state.closed.is_some() {
            return;
        }
        self.state.closed = Some(reason);
        self.state.engine.metrics.ended(self.state.transport.kind(), reason);
        if self.state.is_held {
            self.state.engine.metrics.released();
        }
        // Under attack a line for each connection would be a second attack, so the others are only counted.
        let sid = self.state.sid.as_str();
        if reason == CloseReason::TooSlow {
            tracing::info!(reason = reason.name(), sid, "a client that reads too slowly is cut");
        } else {
            tracing::debug!(reason = reason.name(), sid, fault = self.state.violation, "a connection ended");
        }
        ctx.cancel_future(self.state.timer);
        self.protocol.closed(reason, &mut ConnectionLink { state: &mut self.state, ctx });
        self.state.resume_transports();
        self.state.hang_up(reason, ctx);
    }

    /// Handles one packet of the active transport.
    fn receive(&mut self, packet: EnginePacket, ctx: &mut Context<Self>) {
        match packet {
            EnginePacket::Close => self.close(CloseReason::ClientLeft, ctx),
            // A pong without a ping moves no timer: a payload may bring thousands.
            EnginePacket::Pong if self.state.heartbeat.answered(Instant::now()) => self.beat(ctx),
            EnginePacket::Pong => {}
            EnginePacket::Message(message) => {
                self.with_protocol(ctx, |protocol, link| protocol.received(message, link));
            }
            EnginePacket::Probe | EnginePacket::Upgrade => {
                self.close_violation("A packet of an upgrade that does not take place", ctx)
            }
        }
    }

    /// Closes the connection of a client that broke the protocol.
    fn close_violation(&mut self, violation: &'static str, ctx: &mut Context<Self>) {
        self.state.violation.get_or_insert(violation);
        self.close(CloseReason::Malformed, ctx);
    }

    /// What the transport has to wait for before it reads more, if anything.
    fn pause_transport(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.state.closed.is_some() || !self.protocol.is_busy() {
            return None;
        }
        let (resume, paused) = oneshot::channel();
        self.state.paused.push(resume);
        Some(paused)
    }

    /// Closes a connection whose client has not answered in time, even if the timer is late.
    fn check_heartbeat(&mut self, ctx: &mut Context<Self>) {
        if self.state.heartbeat.is_over(Instant::now()) {
            self.close(CloseReason::PingTimeout, ctx);
        }
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        ctx.cancel_future(self.state.timer);
        let mut action = self.state.heartbeat.next_action(Instant::now());
        if action == HeartbeatAction::Ping {
            self.state.send(OutgoingPacket::PING);
            action = self.state.heartbeat.next_action(Instant::now());
            self.settle(ctx);
        }
        match action {
            HeartbeatAction::Wait(until) if self.state.closed.is_none() => {
                let delay = until.saturating_duration_since(Instant::now());
                self.state.timer = ctx.run_later(delay, Self::beat);
            }
            HeartbeatAction::Close => self.close(CloseReason::PingTimeout, ctx),
            HeartbeatAction::Wait(_) | HeartbeatAction::Ping => {}
        }
    }

    fn batch_written(&mut self, websocket: u64, is_written: bool, ctx: &mut Context<Self>) {
        match &mut self.state.transport {
            ActiveTransport::WebSocket { id, is_writing, .. } if *id == websocket => *is_writing = false,
            _ => return,
        }
        if is_written {
            self.state.flush(ctx);
        } else {
            self.close(CloseReason::TransportLost, ctx);
        }
    }
}

impl<P: Protocol> Actor for EngineConnection<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.beat(ctx);
        if self.state.is_held {
            self.state.hold(ctx);
        } else {
            self.with_protocol(ctx, |protocol, link| protocol.opened(link));
        }
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        // Reached with an open connection only when the worker stops first.
        self.close(CloseReason::ShuttingDown, ctx);
        self.state.engine.connections.remove(&self.state.sid);
    }
}

impl<P: Protocol> Handler<ConnectionNotice<P::Notice>> for EngineConnection<P> {
    type Result = ();

    fn handle(
        &mut self,
        ConnectionNotice(notice): ConnectionNotice<P::Notice>,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        self.with_protocol(ctx, |protocol, link| protocol.notified(notice, link));
    }
}

/// Closes the connection.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CloseConnection(pub(super) CloseReason);

impl<P: Protocol> Handler<CloseConnection> for EngineConnection<P> {
    type Result = ();

    fn handle(&mut self, CloseConnection(reason): CloseConnection, ctx: &mut Self::Context) {
        self.close(reason, ctx);
    }
}

impl<P: Protocol> ConnectionState<P> {
    fn send(&mut self, packet: OutgoingPacket) {
        if self.queue.push(packet).is_err() {
            self.close_later(CloseReason::TooSlow);
        }
    }

    fn send_shared(&mut self, packet: OutgoingPacket) {
        if self.queue.push_shared(packet).is_err() {
            self.close_later(CloseReason::TooSlow);
        }
    }

    fn close_later(&mut self, reason: CloseReason) {
        self.closing.get_or_insert(reason);
    }

    /// Keeps the client without an answer for a while, then closes the connection. socket.io-client takes a connection
    /// that ends before it was let in for a success and reconnects at once, for ever; so the wait has to be here.
    fn hold(&mut self, ctx: &mut Context<EngineConnection<P>>) {
        self.is_held = true;
        self.engine.metrics.held();
        ctx.run_later(self.engine.hold_time(), |connection, ctx| {
            connection.close(CloseReason::Overloaded, ctx)
        });
    }

    fn resume_transports(&mut self) {
        for paused in self.paused.drain(..) {
            // A transport that is gone does not wait.
            let _gone = paused.send(());
        }
    }

    /// Hands the transport what waits, if it is ready.
    fn flush(&mut self, ctx: &mut Context<EngineConnection<P>>) {
        match &mut self.transport {
            _ if self.queue.is_empty() => {}
            ActiveTransport::Polling(polling) => polling.flush(&mut self.queue),
            ActiveTransport::WebSocket { is_writing: true, .. } => {}
            ActiveTransport::WebSocket { pump, id, is_writing } => {
                *is_writing = true;
                let id = *id;
                let batch = pump.send(PacketBatch(self.queue.take_batch()));
                let written = wrap_future::<_, EngineConnection<P>>(batch);
                ctx.spawn(written.map(move |result, connection, ctx| {
                    connection.batch_written(id, result.is_ok(), ctx);
                }));
            }
        }
    }

    /// Tells the client why, and closes the transports.
    fn hang_up(&mut self, reason: CloseReason, ctx: &mut Context<EngineConnection<P>>) {
        if let Some(upgrade) = self.upgrade.take() {
            CloseWebSocket::silently().send_to(&upgrade.pump);
        }
        match &mut self.transport {
            ActiveTransport::WebSocket { pump, .. } => {
                let packets =
                    if reason.delivers_queue() { self.queue.take_limit() } else { Default::default() };
                let violation = self.violation.filter(|_| reason == CloseReason::Malformed);
                let frame = close_frame(reason, violation.unwrap_or(reason.text()));
                CloseWebSocket { packets, frame }.send_to(pump);
                ctx.stop();
            }
            ActiveTransport::Polling(polling) => {
                // A worker that stops has no timers any more, and no poll will come.
                let waits_for_poll = reason.delivers_queue() || reason == CloseReason::ClientLeft;
                if ctx.state().alive() && waits_for_poll {
                    ctx.run_later(LAST_POLL_TIMEOUT, |_, ctx| ctx.stop());
                }
                if polling.hang_up(reason, &mut self.queue) {
                    ctx.stop();
                }
            }
        }
    }
}
