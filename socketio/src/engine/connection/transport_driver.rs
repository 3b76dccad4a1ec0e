//! Drives a connection's transport and heartbeat within its actor: one future for everything that a connection waits for
//! all its life, so that it has one timer and one task.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use actix::{fut::ActorFuture, prelude::*};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{CloseReason, EngineConnection, EnginePacket, OutgoingPacket, Protocol, websocket::WebSocketEnd};
use crate::engine::{
    frame_reader::{FrameViolation, WebSocketInput},
    heartbeat::HeartbeatAction,
    packet::MalformedEnginePacket,
};

/// The future of a connection's transport and heartbeat. It ends with the connection.
pub(super) struct TransportDriver {
    /// Fires when the heartbeat has something to do.
    timer: Pin<Box<Sleep>>,
}

impl TransportDriver {
    pub(super) fn new(deadline: Instant) -> Self {
        Self { timer: Box::pin(sleep_until(deadline)) }
    }
}

impl<P: Protocol> ActorFuture<EngineConnection<P>> for TransportDriver {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        connection: &mut EngineConnection<P>,
        ctx: &mut Context<EngineConnection<P>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if connection.state.closed.is_some() {
            // A polling client may still fetch its last packets.
            return Poll::Ready(());
        }
        connection.state.outlet.register(cx.waker());
        connection.poll_upgrade(ctx, cx);
        connection.poll_websocket(ctx, cx);
        // After an answer of the client, which moves the deadline.
        self.poll_heartbeat(connection, ctx, cx);
        connection.settle(ctx);
        connection.poll_blocked(cx);
        if connection.state.outlet.closing().is_some() {
            connection.settle(ctx);
        }
        if connection.state.closed.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl TransportDriver {
    fn poll_heartbeat<P: Protocol>(
        &mut self,
        connection: &mut EngineConnection<P>,
        ctx: &mut Context<EngineConnection<P>>,
        cx: &mut TaskContext<'_>,
    ) {
        loop {
            let deadline = connection.state.heartbeat.deadline();
            if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() || connection.state.closed.is_some() {
                return;
            }
            match connection.state.heartbeat.next_action(Instant::now()) {
                HeartbeatAction::Ping => connection.state.outlet.queue(OutgoingPacket::PING),
                HeartbeatAction::Close => connection.close(CloseReason::PingTimeout, ctx),
                // The timer fires a little early, or late.
                HeartbeatAction::Wait(_) => return,
            }
        }
    }
}

impl<P: Protocol> EngineConnection<P> {
    /// Handles the next message of the client's websocket. What the protocol does about it on the side has its turn before
    /// the message after it.
    fn poll_websocket(&mut self, ctx: &mut Context<Self>, cx: &mut TaskContext<'_>) {
        if self.state.is_ending() {
            return;
        }
        if self.protocol.is_busy() {
            self.state.is_paused = true;
            return;
        }
        if std::mem::take(&mut self.state.has_received) {
            return self.state.outlet.wake();
        }
        match self.state.outlet.with(|outlet| Some(outlet.websocket()?.poll_input(cx))) {
            None | Some(Poll::Pending) => {}
            Some(Poll::Ready(Ok(input))) => {
                self.state.has_received = true;
                self.websocket_input(input, ctx);
                self.state.outlet.wake();
            }
            Some(Poll::Ready(Err(end))) => self.websocket_ended(end, ctx),
        }
    }

    fn websocket_input(&mut self, input: WebSocketInput, ctx: &mut Context<Self>) {
        match input {
            WebSocketInput::Message(message) => match EnginePacket::decode_frame(message) {
                Ok(packet) => {
                    self.state.engine.metrics.received(packet.size_bytes());
                    self.receive(packet, ctx);
                }
                Err(MalformedEnginePacket) => self.close_violation(MalformedEnginePacket::TEXT, ctx),
            },
            WebSocketInput::Ping(payload) => {
                self.state.outlet.queue(OutgoingPacket::websocket_pong(&payload));
            }
            WebSocketInput::Close => self.close(CloseReason::ClientLeft, ctx),
        }
    }

    fn websocket_ended(&mut self, end: WebSocketEnd, ctx: &mut Context<Self>) {
        match end {
            WebSocketEnd::Lost => self.close(CloseReason::TransportLost, ctx),
            WebSocketEnd::Violation(FrameViolation::TooLarge) => self.close(CloseReason::TooLarge, ctx),
            WebSocketEnd::Violation(FrameViolation::Protocol) => {
                self.close_violation("A frame that RFC 6455 does not allow", ctx);
            }
            WebSocketEnd::Violation(FrameViolation::NotText) => {
                self.close_violation("A text that is not UTF-8", ctx);
            }
        }
    }

    /// Writes on when the kernel has room again.
    fn poll_blocked(&mut self, cx: &mut TaskContext<'_>) {
        self.state.outlet.with(|outlet| {
            while outlet
                .websocket()
                .is_some_and(|websocket| websocket.is_blocked && websocket.poll_writable(cx))
            {
                outlet.flush();
            }
        });
    }
}
