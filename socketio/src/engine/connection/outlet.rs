//! The sending side of a connection: what waits for its client, and the transport that takes it.
//!
//! A connection's actor shares it with whoever sends on the same thread, so that a room reaches a thousand listeners
//! without a message to any of their actors. The actor alone receives, opens and closes.

use std::{cell::RefCell, rc::Rc, task::Waker};

use super::{ActiveTransport, CloseReason, OutgoingPacket, websocket::WebSocketTransport};
use crate::engine::send_queue::{QueueFull, SendQueue};

/// The sending side of a connection.
pub struct ConnectionOutlet(RefCell<OutletState>);

pub(super) struct OutletState {
    pub(super) transport: ActiveTransport,
    pub(super) queue: SendQueue,
    /// Why the actor has to close the connection.
    closing: Option<CloseReason>,
    is_closed: bool,
    /// The task of the actor.
    waker: Option<Waker>,
}

impl ConnectionOutlet {
    pub(super) fn new(transport: ActiveTransport, queue: SendQueue) -> Rc<Self> {
        let state = OutletState { transport, queue, closing: None, is_closed: false, waker: None };
        Rc::new(Self(RefCell::new(state)))
    }

    /// Queues a packet that other connections send too: a burst of those may exceed the queue for a moment. It is sent
    /// with the next [`Self::flush`]. The connection closes when more waits than the queue may hold.
    pub fn queue_shared(&self, packet: OutgoingPacket) {
        self.queue_with(packet, SendQueue::push_shared);
    }

    /// Queues a packet for this client alone.
    pub(crate) fn queue(&self, packet: OutgoingPacket) {
        self.queue_with(packet, SendQueue::push);
    }

    fn queue_with(
        &self,
        packet: OutgoingPacket,
        push: fn(&mut SendQueue, OutgoingPacket) -> Result<(), QueueFull>,
    ) {
        let mut state = self.0.borrow_mut();
        // Nothing comes after a packet that is missing: a client that recovers takes the newest for the end.
        if state.is_closed || state.closing.is_some() {
            return;
        }
        if push(&mut state.queue, packet).is_err() {
            state.close(CloseReason::TooSlow);
        }
    }

    /// Hands the transport what waits, as far as it takes it now.
    pub fn flush(&self) {
        self.0.borrow_mut().flush();
    }

    /// Closes the connection soon. What was sent before is still delivered, unless the client does not read.
    pub fn close(&self, reason: CloseReason) {
        self.0.borrow_mut().close(reason);
    }

    /// Why the connection has to close, if it has to.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.0.borrow().closing
    }

    /// Nothing is queued from now on.
    pub(super) fn closed(&self) {
        let mut state = self.0.borrow_mut();
        (state.is_closed, state.closing, state.waker) = (true, None, None);
    }

    /// Works on the state. Nothing in it may use this outlet.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut OutletState) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }

    /// Remembers the task of the actor.
    pub(super) fn register(&self, waker: &Waker) {
        let known = &mut self.0.borrow_mut().waker;
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Lets the actor look at its transport again.
    pub(super) fn wake(&self) {
        self.0.borrow().wake();
    }
}

impl OutletState {
    pub(super) fn websocket(&mut self) -> Option<&mut WebSocketTransport> {
        match &mut self.transport {
            ActiveTransport::WebSocket(websocket) => Some(websocket),
            ActiveTransport::Polling(_) | ActiveTransport::Gone => None,
        }
    }

    pub(super) fn flush(&mut self) {
        if self.queue.is_empty() || self.is_closed {
            return;
        }
        match &mut self.transport {
            ActiveTransport::Polling(polling) => polling.flush(&mut self.queue),
            ActiveTransport::WebSocket(websocket) if !websocket.is_blocked => {
                match self.queue.write_to(&websocket.tcp) {
                    Ok(true) => {}
                    Ok(false) => {
                        websocket.is_blocked = true;
                        // It waits until the kernel has room again.
                        self.wake();
                    }
                    Err(_broken) => self.close(CloseReason::TransportLost),
                }
            }
            ActiveTransport::WebSocket(_) | ActiveTransport::Gone => {}
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if !self.is_closed {
            self.closing.get_or_insert(reason);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nothing_follows_a_packet_that_had_no_room() {
        let queue = SendQueue::new(1_024, Arc::default());
        let outlet = ConnectionOutlet::new(ActiveTransport::Gone, queue);
        outlet.queue(OutgoingPacket::text(&"x".repeat(600)));
        outlet.queue(OutgoingPacket::text(&"y".repeat(600)));
        outlet.queue(OutgoingPacket::PING);
        assert_eq!(outlet.closing(), Some(CloseReason::TooSlow));
        let queued = outlet.with(|state| state.queue.take_limit().len());
        assert_eq!(queued, 1, "a client would not know that one is missing");
    }
}
