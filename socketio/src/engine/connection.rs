//! The actor of one connection. It owns the heartbeat, the protocol and the receiving side, and shares the sending side
//! ([`ConnectionOutlet`]); it outlives the transport under it.
//!
//! It runs on the worker that accepted the client and never waits: what a transport does not take stays in the send
//! queue, and what a protocol does on the side runs as a future of its own. So its timers fire however slow the client
//! is, and it cuts the client when the queue is full ([`CloseReason::TooSlow`]).

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use super::{
    CloseReason, EngineMessage, EnginePacket, OutgoingPacket,
    connection_limits::ConnectionPermit,
    engine_state::{EngineSid, EngineState},
    heartbeat::Heartbeat,
    metrics::Transport,
    send_queue::SendQueue,
};

mod link;
mod new_connection;
mod outlet;
mod polling;
mod transport_driver;
mod transport_upgrade;
mod websocket;

pub use link::{ConnectionLink, ConnectionNotice, LinkTimer, Protocol};
pub(super) use new_connection::NewConnection;
pub use outlet::ConnectionOutlet;
use polling::PollingTransport;
pub(super) use polling::{PollAbandoned, PollStarted, PollingError, PostReceived, PostStarted};
use transport_driver::TransportDriver;
pub(super) use transport_upgrade::AttachWebSocket;
use transport_upgrade::PendingUpgrade;
use websocket::close_frame;
pub(super) use websocket::{MovingWebSocket, WebSocketTransport};

/// How many notices and polling requests wait for a connection. At the bound their senders wait.
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
    outlet: Rc<ConnectionOutlet>,
    /// Boxed: it is rare.
    upgrade: Option<Box<PendingUpgrade>>,
    heartbeat: Heartbeat,
    /// Whether the client is kept without an answer because the server has no room for it.
    is_held: bool,
    /// How the client broke the protocol, when that is why it closes.
    violation: Option<&'static str>,
    closed: Option<CloseReason>,
    /// Whether a message came with the last turn.
    has_received: bool,
    /// Whether the websocket is read again once the protocol is ready.
    is_paused: bool,
    /// The POST that is answered once the protocol is ready.
    paused_post: Option<oneshot::Sender<()>>,
}

/// The transport in use.
#[expect(
    clippy::large_enum_variant,
    reason = "most connections are websockets, which a box would cost an allocation"
)]
pub(super) enum ActiveTransport {
    /// Boxed: most connections are websockets, and this is larger.
    Polling(Box<PollingTransport>),
    WebSocket(WebSocketTransport),
    /// The connection has closed.
    Gone,
}

impl ActiveTransport {
    /// A client that polls. The transport owns the client's permit.
    pub(super) fn polling(permit: ConnectionPermit) -> Self {
        Self::Polling(Box::new(PollingTransport::new(permit)))
    }

    fn kind(&self) -> Transport {
        match self {
            Self::Polling(_) => Transport::Polling,
            Self::WebSocket(_) | Self::Gone => Transport::WebSocket,
        }
    }
}

impl<P: Protocol> EngineConnection<P> {
    /// Starts a connection on the current worker. `first` is what its websocket gets before anything else.
    pub(super) fn start(
        engine: Arc<SharedState<P>>,
        new: NewConnection<P>,
        transport: ActiveTransport,
        first: Vec<OutgoingPacket>,
        is_held: bool,
    ) {
        let NewConnection { sid, protocol, .. } = new;
        let settings = &engine.settings;
        let mut queue = SendQueue::new(settings.queue_bytes, Arc::clone(&engine.metrics));
        first.into_iter().for_each(|packet| queue.push_control(packet));
        let heartbeat = Heartbeat::new(Instant::now(), settings.ping_interval, settings.ping_timeout);
        engine.metrics.opened(transport.kind());
        let state = ConnectionState {
            sid: sid.clone(),
            engine: Arc::clone(&engine),
            outlet: ConnectionOutlet::new(transport, queue),
            upgrade: None,
            heartbeat,
            is_held,
            violation: None,
            closed: None,
            has_received: false,
            is_paused: false,
            paused_post: None,
        };
        let address = Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self { state, protocol }
        });
        engine.connections.insert(sid, address.clone());
        // The drain may have listed the connections before this one was there. A new actor's mailbox has room.
        if engine.is_draining() {
            let _room = address.try_send(CloseConnection(CloseReason::ShuttingDown));
        }
    }

    /// Calls a method of the protocol and does what follows from it.
    fn with_protocol(
        &mut self,
        ctx: &mut Context<Self>,
        call: impl FnOnce(&mut P, &mut ConnectionLink<'_, P>),
    ) {
        self.call_protocol(ctx, call);
        self.settle(ctx);
    }

    /// Calls a method of the protocol. The caller settles what follows from it.
    fn call_protocol(
        &mut self,
        ctx: &mut Context<Self>,
        call: impl FnOnce(&mut P, &mut ConnectionLink<'_, P>),
    ) {
        if self.state.closed.is_none() && !self.state.is_held {
            call(&mut self.protocol, &mut ConnectionLink { state: &mut self.state, ctx });
        }
    }

    /// Closes the connection if that is due, otherwise sends what waits.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        if self.state.closed.is_some() {
            return;
        }
        self.state.outlet.flush();
        if let Some(reason) = self.state.outlet.closing() {
            return self.close(reason, ctx);
        }
        if !self.protocol.is_busy() {
            self.state.resume_reading();
        }
    }

    fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        if self.state.closed.is_some() {
            return;
        }
        self.state.closed = Some(reason);
        let transport = self.state.outlet.with(|outlet| outlet.transport.kind());
        self.state.engine.metrics.ended(transport, reason);
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
        self.protocol.closed(reason, &mut ConnectionLink { state: &mut self.state, ctx });
        self.state.resume_reading();
        self.cancel_upgrade(ctx);
        self.state.hang_up(reason, ctx);
    }

    /// Handles one packet of the active transport. The caller settles what follows from it.
    fn receive(&mut self, packet: EnginePacket, ctx: &mut Context<Self>) {
        match packet {
            EnginePacket::Close => self.close(CloseReason::ClientLeft, ctx),
            // A pong without a ping changes nothing: a payload may bring thousands.
            EnginePacket::Pong => {
                self.state.heartbeat.answered(Instant::now());
            }
            EnginePacket::Message(message) => {
                self.call_protocol(ctx, |protocol, link| protocol.received(message, link));
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

    /// What a POST has to wait for before it is answered, if anything.
    fn pause_post(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.state.closed.is_some() || !self.protocol.is_busy() {
            return None;
        }
        let (resume, paused) = oneshot::channel();
        self.state.paused_post = Some(resume);
        Some(paused)
    }

    /// Closes a connection whose client has not answered in time, even if the timer is late.
    fn check_heartbeat(&mut self, ctx: &mut Context<Self>) {
        if self.state.heartbeat.is_over(Instant::now()) {
            self.close(CloseReason::PingTimeout, ctx);
        }
    }
}

impl<P: Protocol> Actor for EngineConnection<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(TransportDriver::new(self.state.heartbeat.deadline()));
        if self.state.is_held {
            self.state.hold(ctx);
            self.settle(ctx);
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
    /// Whether nothing more is received.
    fn is_ending(&self) -> bool {
        self.closed.is_some() || self.outlet.closing().is_some()
    }

    fn new_queue(&self) -> SendQueue {
        SendQueue::new(self.engine.settings.queue_bytes, Arc::clone(&self.engine.metrics))
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

    fn resume_reading(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            self.outlet.wake();
        }
        if let Some(paused) = self.paused_post.take() {
            // A client that is gone does not wait.
            let _gone = paused.send(());
        }
    }

    /// Tells the client why, and closes the transport.
    fn hang_up(&mut self, reason: CloseReason, ctx: &mut Context<EngineConnection<P>>) {
        let new_queue = self.new_queue();
        // A worker that stops has no timers any more, and no poll will come.
        let is_alive = ctx.state().alive();
        let ended = self.outlet.with(|outlet| match &mut outlet.transport {
            ActiveTransport::Polling(polling) => {
                let waits_for_poll = reason.delivers_queue() || reason == CloseReason::ClientLeft;
                if is_alive && waits_for_poll {
                    ctx.run_later(LAST_POLL_TIMEOUT, |_, ctx| ctx.stop());
                }
                if polling.hang_up(reason, &mut outlet.queue) {
                    ctx.stop();
                }
                None
            }
            ActiveTransport::WebSocket(_) | ActiveTransport::Gone => {
                ctx.stop();
                let queue = std::mem::replace(&mut outlet.queue, new_queue);
                Some((std::mem::replace(&mut outlet.transport, ActiveTransport::Gone), queue))
            }
        });
        self.outlet.closed();
        let Some((ActiveTransport::WebSocket(websocket), mut queue)) = ended else { return };
        if reason == CloseReason::TransportLost {
            return;
        }
        if !reason.delivers_queue() {
            queue.forget();
        }
        let violation = self.violation.filter(|_| reason == CloseReason::Malformed);
        websocket.end(queue, close_frame(reason, violation.unwrap_or(reason.text())), is_alive);
    }
}
