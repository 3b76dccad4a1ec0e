//! The upgrade of a polling connection to a websocket.

use std::task::{Context as TaskContext, Poll};

use actix::prelude::*;

use super::{
    ActiveTransport, EngineConnection, EnginePacket, OutgoingPacket, Protocol,
    websocket::{MovingWebSocket, WebSocketEnd, WebSocketTransport},
};
use crate::engine::frame_reader::WebSocketInput;

/// A websocket that wants to take over from polling.
pub(super) struct PendingUpgrade {
    websocket: WebSocketTransport,
    /// Tells it apart from another one.
    number: u64,
    is_probed: bool,
}

/// A websocket wants to take over from polling. The head of its answer is written.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::engine) struct AttachWebSocket(pub(in crate::engine) MovingWebSocket);

impl<P: Protocol> Handler<AttachWebSocket> for EngineConnection<P> {
    type Result = ();

    fn handle(&mut self, AttachWebSocket(moving): AttachWebSocket, ctx: &mut Self::Context) {
        let websocket = match WebSocketTransport::arrived(moving) {
            Ok(websocket) => websocket,
            Err(error) => return tracing::debug!(%error, "a websocket is lost"),
        };
        let polls = self.state.outlet.with(|outlet| matches!(outlet.transport, ActiveTransport::Polling(_)));
        if !polls || self.state.upgrade.is_some() || self.state.closed.is_some() {
            return websocket.end(self.state.new_queue(), None, true);
        }
        let number = self.state.engine.next_websocket();
        self.state.upgrade = Some(Box::new(PendingUpgrade { websocket, number, is_probed: false }));
        let timeout = self.state.engine.settings.upgrade_timeout;
        ctx.run_later(timeout, move |connection, ctx| {
            if connection.state.upgrade.as_ref().is_some_and(|upgrade| upgrade.number == number) {
                connection.cancel_upgrade(ctx);
            }
        });
    }
}

impl<P: Protocol> EngineConnection<P> {
    /// Whether the client has asked whether its websocket works.
    pub(super) fn is_probed(&self) -> bool {
        self.state.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_probed)
    }

    /// Handles the next thing that a websocket brings that wants to take over. Others have their turn before the one after
    /// it, as with a websocket that is in use.
    pub(super) fn poll_upgrade(&mut self, ctx: &mut Context<Self>, cx: &mut TaskContext<'_>) {
        let Some(upgrade) = &mut self.state.upgrade else { return };
        // What came with the request can be answered only once the stream is registered with this worker.
        if !upgrade.websocket.poll_writable(cx) {
            return;
        }
        let input = match upgrade.websocket.poll_input(cx) {
            Poll::Pending => return,
            Poll::Ready(input) => input,
        };
        self.state.outlet.wake();
        let is_taken = match input {
            Ok(WebSocketInput::Message(message)) => match EnginePacket::decode_frame(message) {
                Ok(EnginePacket::Probe) if !upgrade.is_probed => {
                    upgrade.is_probed = true;
                    let is_written = upgrade.websocket.write_first(&OutgoingPacket::PROBED);
                    self.release_poll(ctx);
                    is_written
                }
                Ok(EnginePacket::Upgrade) if upgrade.is_probed => return self.complete_upgrade(ctx),
                _ => false,
            },
            Ok(WebSocketInput::Ping(payload)) => {
                upgrade.websocket.write_first(&OutgoingPacket::websocket_pong(&payload))
            }
            Err(WebSocketEnd::Lost) => return self.state.upgrade = None,
            Ok(WebSocketInput::Close) | Err(WebSocketEnd::Violation(_)) => false,
        };
        if !is_taken {
            self.cancel_upgrade(ctx);
        }
    }

    fn complete_upgrade(&mut self, ctx: &mut Context<Self>) {
        let Some(upgrade) = self.state.upgrade.take() else { return };
        // A poll that is still open came after the client's last packet, and is refused.
        self.state.outlet.with(|outlet| outlet.transport = ActiveTransport::WebSocket(upgrade.websocket));
        self.state.engine.metrics.upgraded();
        self.settle(ctx);
    }

    /// The client goes on polling.
    pub(super) fn cancel_upgrade(&mut self, ctx: &mut Context<Self>) {
        if let Some(upgrade) = self.state.upgrade.take() {
            upgrade.websocket.end(self.state.new_queue(), None, ctx.state().alive());
        }
    }
}
