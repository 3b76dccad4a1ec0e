//! The two sides of a connection: the [`Protocol`] that the application implements, and the [`ConnectionLink`] that it
//! acts through.

use std::{future::Future, rc::Rc, time::Duration};

use actix::{
    fut::{ActorFutureExt, wrap_future},
    prelude::*,
};

use super::{
    CloseReason, ConnectionOutlet, ConnectionState, EngineConnection, EngineMessage, OutgoingPacket,
};

/// What is spoken over one connection. Its methods run in the connection's actor, one at a time, and must not block;
/// what takes longer belongs in [`ConnectionLink::run`].
pub trait Protocol: Sized + Unpin + 'static {
    /// What other parts of the application tell this connection.
    type Notice: Send + 'static;

    /// The connection is open.
    fn opened(&mut self, link: &mut ConnectionLink<'_, Self>);

    /// The client sent a message.
    fn received(&mut self, message: EngineMessage, link: &mut ConnectionLink<'_, Self>);

    /// Another part of the application sent a notice.
    fn notified(&mut self, notice: Self::Notice, link: &mut ConnectionLink<'_, Self>);

    /// The connection is over; nothing can be sent any more.
    fn closed(&mut self, reason: CloseReason, link: &mut ConnectionLink<'_, Self>);

    /// Whether messages should wait: the transport reads no more until this is false again.
    fn is_busy(&self) -> bool {
        false
    }
}

/// A notice on its way to a connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ConnectionNotice<N: Send + 'static>(pub N);

/// What a protocol can do with its connection while one of its methods runs.
pub struct ConnectionLink<'a, P: Protocol> {
    pub(super) state: &'a mut ConnectionState<P>,
    pub(super) ctx: &'a mut Context<EngineConnection<P>>,
}

/// A timer that can be cancelled.
#[derive(Debug, Clone, Copy)]
pub struct LinkTimer(SpawnHandle);

impl<P: Protocol> ConnectionLink<'_, P> {
    /// Queues a packet for the client. The connection closes when more waits than the queue may hold.
    pub fn send(&mut self, packet: OutgoingPacket) {
        self.state.outlet.queue(packet);
    }

    /// The sending side, for others on the same thread.
    #[must_use]
    pub fn outlet(&self) -> &Rc<ConnectionOutlet> {
        &self.state.outlet
    }

    /// Closes the connection after this method. What was sent before is still delivered, unless the client does not
    /// read.
    pub fn close(&mut self, reason: CloseReason) {
        self.state.outlet.close(reason);
    }

    /// The same for a client that broke the protocol, which is told how.
    pub fn close_violation(&mut self, violation: &'static str) {
        self.state.violation.get_or_insert(violation);
        self.state.outlet.close(CloseReason::Malformed);
    }

    /// Leaves the client without an answer for a while and then closes the connection, so that it reconnects later.
    /// Until then the protocol hears nothing of it.
    pub fn hold(&mut self) {
        self.state.hold(self.ctx);
    }

    /// Runs a future on the side and hands its result to the protocol, unless the connection ends first.
    pub fn run<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
        then: impl FnOnce(&mut P, T, &mut ConnectionLink<'_, P>) + 'static,
    ) {
        let finished =
            |result, connection: &mut EngineConnection<P>, ctx: &mut Context<EngineConnection<P>>| {
                connection.with_protocol(ctx, |protocol, link| then(protocol, result, link));
            };
        self.ctx.spawn(wrap_future::<_, EngineConnection<P>>(future).map(finished));
    }

    /// Calls the protocol later, unless the connection ends or the timer is cancelled first.
    pub fn run_later(
        &mut self,
        delay: Duration,
        then: impl FnOnce(&mut P, &mut ConnectionLink<'_, P>) + 'static,
    ) -> LinkTimer {
        LinkTimer(self.ctx.run_later(delay, |connection, ctx| connection.with_protocol(ctx, then)))
    }

    /// Cancels a timer.
    pub fn cancel(&mut self, LinkTimer(timer): LinkTimer) {
        self.ctx.cancel_future(timer);
    }

    /// Where others send notices to this connection. They wait when its mailbox is full, but never long, because a
    /// connection never waits for anybody.
    #[must_use]
    pub fn recipient(&self) -> Recipient<ConnectionNotice<P::Notice>> {
        self.ctx.address().recipient()
    }
}
