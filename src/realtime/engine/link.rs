//! A protocol's way to its connection.

use std::{future::Future, time::Duration};

use actix::{
    fut::{ActorFutureExt, wrap_future},
    prelude::*,
};

use super::{CloseReason, Connection, Outgoing, Protocol, connection::Wire};

/// Something that others tell a connection, on its way.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Told<N: Send + 'static>(pub N);

/// What a protocol can do with its connection while one of its methods runs.
pub struct Link<'a, P: Protocol> {
    pub(super) wire: &'a mut Wire<P>,
    pub(super) ctx: &'a mut Context<Connection<P>>,
}

/// A timer that can be stopped.
#[derive(Debug, Clone, Copy)]
pub struct Timer(SpawnHandle);

impl<P: Protocol> Link<'_, P> {
    /// Sends a packet when the transport takes it. A client that lets more wait than the outbox holds
    /// is cut.
    pub fn send(&mut self, packet: Outgoing) {
        self.wire.push(packet);
    }

    /// The same for a packet that others are sent too: a burst of them may wait for a moment.
    pub fn send_shared(&mut self, packet: Outgoing) {
        self.wire.push_shared(packet);
    }

    /// Ends the connection after this method; what was sent before is still delivered, unless the
    /// reason is a client that does not read.
    pub fn close(&mut self, reason: CloseReason) {
        self.wire.close_after(reason);
    }

    /// The same for a client that broke the protocol: what it did wrong is what it is told.
    pub fn violated(&mut self, fault: &'static str) {
        self.wire.violated(fault);
    }

    /// Leaves the client without an answer for a while and then ends the connection: it comes back by itself, and
    /// takes its time. Nothing is heard of it or told to the protocol meanwhile.
    pub fn hold(&mut self) {
        self.wire.hold(self.ctx);
    }

    /// Runs a future beside the connection and hands its result to the protocol; nothing happens when
    /// the connection ends first.
    pub fn run<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
        then: impl FnOnce(&mut P, T, &mut Link<'_, P>) + 'static,
    ) {
        let handed = |result, connection: &mut Connection<P>, ctx: &mut Context<Connection<P>>| {
            connection.with(ctx, |protocol, link| then(protocol, result, link));
        };
        self.ctx.spawn(wrap_future::<_, Connection<P>>(future).map(handed));
    }

    /// Does something later, unless the connection ends or the timer is stopped first.
    pub fn later(&mut self, delay: Duration, then: impl FnOnce(&mut P, &mut Link<'_, P>) + 'static) -> Timer {
        Timer(self.ctx.run_later(delay, |connection, ctx| connection.with(ctx, then)))
    }

    /// Stops a timer.
    pub fn stop(&mut self, Timer(timer): Timer) {
        self.ctx.cancel_future(timer);
    }

    /// The way for others to tell this connection something. They wait when its mailbox is full: a
    /// connection never waits for anybody, so that is short.
    #[must_use]
    pub fn recipient(&self) -> Recipient<Told<P::Note>> {
        self.ctx.address().recipient()
    }
}
