//! The websocket transport: a thin pump between a client's socket and its connection.
//!
//! The pump is the only actor that lives in a `WebsocketContext`. Such a context is polled by the HTTP
//! dispatcher and stands still, timers and mailbox included, while the client does not read; that is
//! why nothing but frames is in here. It writes one batch and answers, which is the connection's sign
//! to send the next; and it hands over one message and waits until the connection has taken it, which
//! is what stops the client from sending more than is handled.

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
    CloseReason, Connection, Data, Outgoing, Protocol,
    connection::{Line, Upgrade, packet_of},
    guard::{Progress, Violation},
    packet::{Malformed, Packet},
    route::{Opening, Shared},
    sessions::Ticket,
};

/// Tells a connection's pumps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PumpId(pub(super) u64);

/// Where a websocket's messages go.
pub(super) enum Role<P: Protocol> {
    /// It opens a connection.
    Opens(Box<Opening<P>>),
    /// It wants to take over from polling.
    Probes(Addr<Connection<P>>),
    /// Nowhere: the connection does not want it.
    Spare,
}

/// The actor of one websocket.
pub(super) struct Pump<P: Protocol> {
    id: PumpId,
    role: Option<Role<P>>,
    connection: Option<Addr<Connection<P>>>,
    /// The begin of a message in fragments, and whether it is text. The guard bounds it.
    fragments: Option<(bool, BytesMut)>,
    progress: Rc<Progress>,
    shared: Arc<Shared<P>>,
    ticket: Ticket,
}

impl<P: Protocol> Pump<P> {
    pub(super) fn new(role: Role<P>, progress: Rc<Progress>, shared: Arc<Shared<P>>, ticket: Ticket) -> Self {
        let id = shared.next_pump();
        Self { id, role: Some(role), connection: None, fragments: None, progress, shared, ticket }
    }

    /// Reads on when the connection has taken what it was handed.
    fn wait(
        taken: impl Future<Output = Result<(), MailboxError>> + 'static,
        ctx: &mut WebsocketContext<Self>,
    ) {
        ctx.wait(wrap_future::<_, Self>(taken).map(|result, _, ctx| {
            if result.is_err() {
                end(ctx, None);
            }
        }));
    }

    fn message(&mut self, data: Data, ctx: &mut WebsocketContext<Self>) {
        if let Some(connection) = &self.connection {
            Self::wait(connection.send(Received { pump: self.id, data }), ctx);
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
                Ok(text) => self.message(Data::Text(text), ctx),
                Err(_not_utf8) => self.broke(CloseReason::Malformed, "A text that is not UTF-8", ctx),
            },
            Some((false, whole)) => self.message(Data::Binary(whole.freeze()), ctx),
            None => {}
        }
    }

    fn write(packets: VecDeque<Outgoing>, ctx: &mut WebsocketContext<Self>) {
        for packet in packets {
            match packet {
                Outgoing::Text(text) => ctx.text(text),
                Outgoing::Binary(bytes) => ctx.binary(bytes),
            }
        }
    }

    fn violated(&mut self, violation: Option<Violation>, ctx: &mut WebsocketContext<Self>) {
        match violation {
            Some(Violation::TooLarge) => self.broke(CloseReason::TooLarge, CloseReason::TooLarge.text(), ctx),
            Some(Violation::Protocol) | None => {
                self.broke(CloseReason::Malformed, "A frame that RFC 6455 does not allow", ctx);
            }
        }
    }

    fn broke(&mut self, reason: CloseReason, fault: &'static str, ctx: &mut WebsocketContext<Self>) {
        self.left(reason);
        end(ctx, close_frame(reason, fault));
    }

    /// Tells the connection that this websocket is gone.
    fn left(&mut self, reason: CloseReason) {
        if let Some(connection) = self.connection.take() {
            // When its mailbox is full it hears of it with the next batch, or the next ping.
            let _told = connection.try_send(Left { pump: self.id, reason });
        }
    }
}

impl<P: Protocol> Actor for Pump<P> {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.role.take() {
            Some(Role::Opens(opening)) => {
                ctx.text(opening.packet(&self.shared.settings));
                let Opening { sid, protocol, .. } = *opening;
                let (shared, pump, is_held) =
                    (Arc::clone(&self.shared), ctx.address(), self.ticket.is_held());
                let connection = Connection::start_websocket(shared, sid, protocol, pump, self.id, is_held);
                self.connection = Some(connection);
            }
            Some(Role::Probes(connection)) => {
                Self::wait(connection.send(Attach { pump: ctx.address(), id: self.id }), ctx);
                self.connection = Some(connection);
            }
            Some(Role::Spare) | None => end(ctx, None),
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.left(CloseReason::TransportLost);
    }
}

impl<P: Protocol> StreamHandler<Result<ws::Message, ProtocolError>> for Pump<P> {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, ctx: &mut Self::Context) {
        self.progress.handled();
        match message {
            Ok(ws::Message::Text(text)) => self.message(Data::Text(text), ctx),
            Ok(ws::Message::Binary(bytes)) => self.message(Data::Binary(bytes), ctx),
            Ok(ws::Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(ws::Message::Ping(bytes)) => ctx.pong(&bytes),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(_)) => {
                self.left(CloseReason::ClientLeft);
                end(ctx, Some(CloseCode::Normal.into()));
            }
            Err(_against_the_protocol) => self.violated(self.progress.verdict(), ctx),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        match self.progress.verdict() {
            None => ctx.stop(),
            violation => self.violated(violation, ctx),
        }
    }
}

/// Packets to be written.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Batch(pub(super) VecDeque<Outgoing>);

impl<P: Protocol> Handler<Batch> for Pump<P> {
    type Result = ();

    fn handle(&mut self, Batch(packets): Batch, ctx: &mut Self::Context) {
        Self::write(packets, ctx);
    }
}

/// The websocket is to be closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Hangup {
    /// What is written before.
    pub(super) packets: VecDeque<Outgoing>,
    /// Code and reason of the close frame; none when the client need not know.
    pub(super) close: Option<ws::CloseReason>,
}

impl Hangup {
    /// Without a word.
    pub(super) fn silent() -> Self {
        Self { packets: VecDeque::new(), close: None }
    }
}

impl<P: Protocol> Handler<Hangup> for Pump<P> {
    type Result = ();

    fn handle(&mut self, Hangup { packets, close }: Hangup, ctx: &mut Self::Context) {
        self.connection = None;
        Self::write(packets, ctx);
        end(ctx, close);
    }
}

/// Closes a connection's websocket. Its mailbox has room: a connection sends one batch at a time.
pub(super) fn hang_up<P: Protocol>(pump: &Addr<Pump<P>>, hangup: Hangup) {
    // A pump that is gone has nothing to close.
    let _gone = pump.try_send(hangup);
}

fn end<P: Protocol>(ctx: &mut WebsocketContext<Pump<P>>, close: Option<ws::CloseReason>) {
    ctx.close(close);
    ctx.stop();
}

/// The close frame of a reason; none where nothing is wrong. A text has at most 123 bytes (RFC 6455 §5.5.1).
pub(super) fn close_frame(reason: CloseReason, text: &str) -> Option<ws::CloseReason> {
    code_of(reason).map(|code| ws::CloseReason { code, description: Some(text.to_owned()) })
}

/// The close code of RFC 6455 that says it best; the client sees none where nothing is wrong.
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

/// A message that came in.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Received {
    pump: PumpId,
    data: Data,
}

impl<P: Protocol> Handler<Received> for Connection<P> {
    type Result = Response<()>;

    fn handle(&mut self, Received { pump, data }: Received, ctx: &mut Self::Context) -> Self::Result {
        let packet = packet_of(data);
        match &self.wire.line {
            Line::WebSocket { id, .. } if *id == pump => match packet {
                Ok(packet) => {
                    self.wire.shared.metrics.received(packet.size_bytes());
                    self.take_in(packet, ctx);
                }
                Err(Malformed) => self.violated(Malformed::TEXT, ctx),
            },
            _ => self.probed(pump, packet.ok(), ctx),
        }
        match self.pause() {
            None => Response::reply(()),
            Some(paused) => Response::fut(async {
                let _ended = paused.await;
            }),
        }
    }
}

impl<P: Protocol> Connection<P> {
    /// Takes in a packet of a websocket that wants to take over.
    fn probed(&mut self, pump: PumpId, packet: Option<Packet>, ctx: &mut Context<Self>) {
        let Some(upgrade) = self.wire.upgrade.as_mut().filter(|upgrade| upgrade.id == pump) else { return };
        match packet {
            Some(Packet::Probe) if !upgrade.is_probed => {
                upgrade.is_probed = true;
                // Its mailbox is empty: it has been given nothing yet.
                let _gone = upgrade.pump.try_send(Batch(VecDeque::from([Outgoing::PROBED])));
                self.release_poll(ctx);
            }
            Some(Packet::Upgrade) if upgrade.is_probed => {
                let Some(Upgrade { pump, id, .. }) = self.wire.upgrade.take() else { return };
                // A poll that is still open came after the client's last word, and is refused.
                self.wire.line = Line::WebSocket { pump, id, is_writing: false };
                self.wire.shared.metrics.upgraded();
                self.settle(ctx);
            }
            _ => self.give_up_upgrade(pump),
        }
    }

    fn give_up_upgrade(&mut self, pump: PumpId) {
        if let Some(upgrade) = self.wire.upgrade.take_if(|upgrade| upgrade.id == pump) {
            hang_up(&upgrade.pump, Hangup::silent());
        }
    }
}

/// A websocket wants to take over from polling.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Attach<P: Protocol> {
    pump: Addr<Pump<P>>,
    id: PumpId,
}

impl<P: Protocol> Handler<Attach<P>> for Connection<P> {
    type Result = ();

    fn handle(&mut self, Attach { pump, id }: Attach<P>, ctx: &mut Self::Context) {
        let polls = matches!(self.wire.line, Line::Polling(_));
        if !polls || self.wire.upgrade.is_some() || self.wire.ended.is_some() {
            return hang_up(&pump, Hangup::silent());
        }
        self.wire.upgrade = Some(Upgrade { pump, id, is_probed: false });
        let patience = self.wire.shared.settings.upgrade_timeout;
        ctx.run_later(patience, move |connection, _| connection.give_up_upgrade(id));
    }
}

/// A websocket is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Left {
    pump: PumpId,
    reason: CloseReason,
}

impl<P: Protocol> Handler<Left> for Connection<P> {
    type Result = ();

    fn handle(&mut self, Left { pump, reason }: Left, ctx: &mut Self::Context) {
        match &self.wire.line {
            Line::WebSocket { id, .. } if *id == pump => self.close(reason, ctx),
            _ => self.wire.upgrade.take_if(|upgrade| upgrade.id == pump).map_or((), drop),
        }
    }
}
