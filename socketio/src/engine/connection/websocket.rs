//! The websocket transport: a thin pump between a client's socket and its connection.
//!
//! The pump is the only actor that lives in a `WebsocketContext`. The HTTP dispatcher polls such a context, which freezes,
//! timers and mailbox included, while the client does not read; so the pump handles nothing but frames. It writes one
//! batch and answers, which tells the connection to send the next. It hands over one message and waits until the
//! connection has taken it, so the client cannot send more than is handled.

use std::{collections::VecDeque, future::Future, rc::Rc, sync::Arc};

use actix::{
    fut::{ActorFutureExt, wrap_future},
    prelude::*,
};
use actix_http::ws::Item;
use actix_web_actors::ws::{self, CloseCode, ProtocolError, WebsocketContext};
use bytes::BytesMut;
use bytestring::ByteString;

use super::{
    ActiveTransport, CloseReason, ConnectionPermit, EngineConnection, EngineMessage, EnginePacket,
    NewConnection, OutgoingPacket, PendingUpgrade, Protocol, SharedState,
};
use crate::engine::{
    frame_guard::{FrameProgress, FrameViolation},
    packet::MalformedEnginePacket,
};

/// What a websocket is for.
pub(in crate::engine) enum WebSocketRole<P: Protocol> {
    /// It opens a connection.
    Open(Box<NewConnection<P>>),
    /// It wants to take over from polling.
    Upgrade(Addr<EngineConnection<P>>),
    /// Nothing: the connection is closed.
    Unwanted,
}

/// The actor of one websocket.
pub(in crate::engine) struct WebSocketPump<P: Protocol> {
    id: u64,
    role: Option<WebSocketRole<P>>,
    connection: Option<Addr<EngineConnection<P>>>,
    /// The fragments of a message so far, and whether it is text. The frame guard bounds them.
    fragments: Option<(bool, BytesMut)>,
    progress: Rc<FrameProgress>,
    engine: Arc<SharedState<P>>,
    permit: ConnectionPermit,
}

impl<P: Protocol> WebSocketPump<P> {
    pub(in crate::engine) fn new(
        role: WebSocketRole<P>,
        progress: Rc<FrameProgress>,
        engine: Arc<SharedState<P>>,
        permit: ConnectionPermit,
    ) -> Self {
        let id = engine.next_websocket();
        Self { id, role: Some(role), connection: None, fragments: None, progress, engine, permit }
    }

    /// Reads on when the connection has taken what it was handed.
    fn wait_for(
        taken: impl Future<Output = Result<(), MailboxError>> + 'static,
        ctx: &mut WebsocketContext<Self>,
    ) {
        ctx.wait(wrap_future::<_, Self>(taken).map(|result, _, ctx| {
            if result.is_err() {
                close(ctx, None);
            }
        }));
    }

    fn message(&mut self, message: EngineMessage, ctx: &mut WebsocketContext<Self>) {
        if let Some(connection) = &self.connection {
            Self::wait_for(connection.send(MessageReceived { websocket: self.id, message }), ctx);
        }
    }

    fn fragment(&mut self, item: Item, ctx: &mut WebsocketContext<Self>) {
        let (bytes, is_last) = match item {
            Item::FirstText(bytes) => return self.fragments = Some((true, bytes[..].into())),
            Item::FirstBinary(bytes) => return self.fragments = Some((false, bytes[..].into())),
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let Some((_, so_far)) = &mut self.fragments else { return };
        so_far.extend_from_slice(&bytes);
        if !is_last {
            return;
        }
        match self.fragments.take() {
            Some((true, whole)) => match ByteString::try_from(whole) {
                Ok(text) => self.message(EngineMessage::Text(text), ctx),
                Err(_not_utf8) => self.fail(CloseReason::Malformed, "A text that is not UTF-8", ctx),
            },
            Some((false, whole)) => self.message(EngineMessage::Binary(whole.freeze()), ctx),
            None => {}
        }
    }

    fn write(packets: VecDeque<OutgoingPacket>, ctx: &mut WebsocketContext<Self>) {
        for packet in packets {
            match packet {
                OutgoingPacket::Text(text) => ctx.text(text),
                OutgoingPacket::Binary(bytes) => ctx.binary(bytes),
            }
        }
    }

    fn violated(&mut self, violation: Option<FrameViolation>, ctx: &mut WebsocketContext<Self>) {
        match violation {
            Some(FrameViolation::TooLarge) => {
                self.fail(CloseReason::TooLarge, CloseReason::TooLarge.text(), ctx);
            }
            Some(FrameViolation::Protocol) | None => {
                self.fail(CloseReason::Malformed, "A frame that RFC 6455 does not allow", ctx);
            }
        }
    }

    fn fail(&mut self, reason: CloseReason, text: &'static str, ctx: &mut WebsocketContext<Self>) {
        self.report_closed(reason);
        close(ctx, close_frame(reason, text));
    }

    fn report_closed(&mut self, reason: CloseReason) {
        if let Some(connection) = self.connection.take() {
            // If the mailbox is full, the next batch or ping finds out.
            let _full = connection.try_send(WebSocketClosed { websocket: self.id, reason });
        }
    }
}

impl<P: Protocol> Actor for WebSocketPump<P> {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.role.take() {
            Some(WebSocketRole::Open(new)) => {
                ctx.text(new.open_packet(&self.engine.settings));
                let transport =
                    ActiveTransport::WebSocket { pump: ctx.address(), id: self.id, is_writing: false };
                let (engine, is_held) = (Arc::clone(&self.engine), self.permit.is_held());
                self.connection = Some(EngineConnection::start(engine, *new, transport, is_held));
            }
            Some(WebSocketRole::Upgrade(connection)) => {
                Self::wait_for(connection.send(AttachWebSocket { pump: ctx.address(), id: self.id }), ctx);
                self.connection = Some(connection);
            }
            Some(WebSocketRole::Unwanted) | None => close(ctx, None),
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.report_closed(CloseReason::TransportLost);
    }
}

impl<P: Protocol> StreamHandler<Result<ws::Message, ProtocolError>> for WebSocketPump<P> {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, ctx: &mut Self::Context) {
        self.progress.frame_handled();
        match message {
            Ok(ws::Message::Text(text)) => self.message(EngineMessage::Text(text), ctx),
            Ok(ws::Message::Binary(bytes)) => self.message(EngineMessage::Binary(bytes), ctx),
            Ok(ws::Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(ws::Message::Ping(bytes)) => ctx.pong(&bytes),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(_)) => {
                self.report_closed(CloseReason::ClientLeft);
                close(ctx, Some(CloseCode::Normal.into()));
            }
            Err(_protocol_error) => self.violated(self.progress.violation(), ctx),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        match self.progress.violation() {
            None => ctx.stop(),
            violation => self.violated(violation, ctx),
        }
    }
}

/// Packets to write.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PacketBatch(pub(super) VecDeque<OutgoingPacket>);

impl<P: Protocol> Handler<PacketBatch> for WebSocketPump<P> {
    type Result = ();

    fn handle(&mut self, PacketBatch(packets): PacketBatch, ctx: &mut Self::Context) {
        Self::write(packets, ctx);
    }
}

/// Closes the websocket.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CloseWebSocket {
    /// What to write before.
    pub(super) packets: VecDeque<OutgoingPacket>,
    /// Code and reason for the client; none when it need not know.
    pub(super) frame: Option<ws::CloseReason>,
}

impl CloseWebSocket {
    pub(super) fn silently() -> Self {
        Self { packets: VecDeque::new(), frame: None }
    }

    /// The mailbox has room: a connection sends one batch at a time.
    pub(super) fn send_to<P: Protocol>(self, pump: &Addr<WebSocketPump<P>>) {
        // A pump that is gone has nothing to close.
        let _gone = pump.try_send(self);
    }
}

impl<P: Protocol> Handler<CloseWebSocket> for WebSocketPump<P> {
    type Result = ();

    fn handle(&mut self, CloseWebSocket { packets, frame }: CloseWebSocket, ctx: &mut Self::Context) {
        self.connection = None;
        Self::write(packets, ctx);
        close(ctx, frame);
    }
}

fn close<P: Protocol>(ctx: &mut WebsocketContext<WebSocketPump<P>>, frame: Option<ws::CloseReason>) {
    ctx.close(frame);
    ctx.stop();
}

/// The close frame of a reason; none where nothing is wrong. A text has at most 123 bytes (RFC 6455 §5.5.1).
pub(super) fn close_frame(reason: CloseReason, text: &str) -> Option<ws::CloseReason> {
    code_of(reason).map(|code| ws::CloseReason { code, description: Some(text.to_owned()) })
}

/// The close code of RFC 6455 that fits best; none where nothing is wrong.
fn code_of(reason: CloseReason) -> Option<CloseCode> {
    match reason {
        CloseReason::TooLarge => Some(CloseCode::Size),
        CloseReason::TooSlow | CloseReason::Overloaded => Some(CloseCode::Again),
        CloseReason::ShuttingDown => Some(CloseCode::Away),
        CloseReason::Malformed => Some(CloseCode::Protocol),
        CloseReason::ConnectTimeout | CloseReason::PingTimeout | CloseReason::TooOften => {
            Some(CloseCode::Policy)
        }
        CloseReason::ClientLeft | CloseReason::TransportLost | CloseReason::Refused => None,
    }
}

/// A message arrived on a websocket.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct MessageReceived {
    websocket: u64,
    message: EngineMessage,
}

impl<P: Protocol> Handler<MessageReceived> for EngineConnection<P> {
    type Result = Response<()>;

    fn handle(
        &mut self,
        MessageReceived { websocket, message }: MessageReceived,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let packet = EnginePacket::decode_frame(message);
        match &self.state.transport {
            ActiveTransport::WebSocket { id, .. } if *id == websocket => match packet {
                Ok(packet) => {
                    self.state.engine.metrics.received(packet.size_bytes());
                    self.receive(packet, ctx);
                }
                Err(MalformedEnginePacket) => self.close_violation(MalformedEnginePacket::TEXT, ctx),
            },
            _ => self.receive_upgrade(websocket, packet.ok(), ctx),
        }
        match self.pause_transport() {
            None => Response::reply(()),
            Some(paused) => Response::fut(async {
                let _closed = paused.await;
            }),
        }
    }
}

impl<P: Protocol> EngineConnection<P> {
    /// Handles a packet of a websocket that wants to take over.
    fn receive_upgrade(&mut self, websocket: u64, packet: Option<EnginePacket>, ctx: &mut Context<Self>) {
        let pending = self.state.upgrade.as_mut().filter(|upgrade| upgrade.id == websocket);
        let Some(upgrade) = pending else { return };
        match packet {
            Some(EnginePacket::Probe) if !upgrade.is_probed => {
                upgrade.is_probed = true;
                // Its mailbox is empty: nothing was sent to it yet.
                let _gone = upgrade.pump.try_send(PacketBatch(VecDeque::from([OutgoingPacket::PROBED])));
                self.release_poll(ctx);
            }
            Some(EnginePacket::Upgrade) if upgrade.is_probed => {
                let Some(PendingUpgrade { pump, id, .. }) = self.state.upgrade.take() else { return };
                // A poll that is still open came after the client's last packet, and is refused.
                self.state.transport = ActiveTransport::WebSocket { pump, id, is_writing: false };
                self.state.engine.metrics.upgraded();
                self.settle(ctx);
            }
            _ => self.cancel_upgrade(websocket),
        }
    }

    fn cancel_upgrade(&mut self, websocket: u64) {
        if let Some(upgrade) = self.state.upgrade.take_if(|upgrade| upgrade.id == websocket) {
            CloseWebSocket::silently().send_to(&upgrade.pump);
        }
    }
}

/// A websocket wants to take over from polling.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AttachWebSocket<P: Protocol> {
    pump: Addr<WebSocketPump<P>>,
    id: u64,
}

impl<P: Protocol> Handler<AttachWebSocket<P>> for EngineConnection<P> {
    type Result = ();

    fn handle(&mut self, AttachWebSocket { pump, id }: AttachWebSocket<P>, ctx: &mut Self::Context) {
        let polls = matches!(self.state.transport, ActiveTransport::Polling(_));
        if !polls || self.state.upgrade.is_some() || self.state.closed.is_some() {
            return CloseWebSocket::silently().send_to(&pump);
        }
        self.state.upgrade = Some(PendingUpgrade { pump, id, is_probed: false });
        let timeout = self.state.engine.settings.upgrade_timeout;
        ctx.run_later(timeout, move |connection, _| connection.cancel_upgrade(id));
    }
}

/// A websocket is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WebSocketClosed {
    websocket: u64,
    reason: CloseReason,
}

impl<P: Protocol> Handler<WebSocketClosed> for EngineConnection<P> {
    type Result = ();

    fn handle(&mut self, WebSocketClosed { websocket, reason }: WebSocketClosed, ctx: &mut Self::Context) {
        match &self.state.transport {
            ActiveTransport::WebSocket { id, .. } if *id == websocket => self.close(reason, ctx),
            _ => self.state.upgrade.take_if(|upgrade| upgrade.id == websocket).map_or((), drop),
        }
    }
}
