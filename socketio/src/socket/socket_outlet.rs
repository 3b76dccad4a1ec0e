//! The sending side of one socket: which events its client gets, and in which form.
//!
//! Its connection's actor and the rooms of its worker share it.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{OutgoingEvent, SocketId};
use crate::engine::{CloseReason, ConnectionOutlet, OutgoingPacket};

/// How many events are kept for a socket before it is accepted.
const MAX_EARLY_EVENTS: usize = 1_000;

/// The sending side of one socket. What is sent goes out with the next flush of its connection.
pub struct SocketOutlet {
    id: SocketId,
    namespace: &'static str,
    connection: Rc<ConnectionOutlet>,
    progress: RefCell<DeliveryProgress>,
}

/// What the client has seen.
enum DeliveryProgress {
    /// Nothing: it is not accepted yet, and these events wait until it is.
    Early(Vec<Arc<OutgoingEvent>>),
    /// Events up to an offset. `recovers`: whether it gets the offsets of events.
    Accepted { seen_offset: u64, recovers: bool },
    /// It has left.
    Left,
}

impl SocketOutlet {
    pub(super) fn new(id: SocketId, namespace: &'static str, connection: &Rc<ConnectionOutlet>) -> Rc<Self> {
        let progress = RefCell::new(DeliveryProgress::Early(Vec::new()));
        Rc::new(Self { id, namespace, connection: Rc::clone(connection), progress })
    }

    /// The number of the socket.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.id
    }

    pub(super) fn namespace(&self) -> &'static str {
        self.namespace
    }

    /// Its connection, which other sockets may have too.
    #[must_use]
    pub fn connection(&self) -> &Rc<ConnectionOutlet> {
        &self.connection
    }

    /// The socket is accepted: it gets the first events, and then those that came early.
    pub(super) fn accept(&self, first: &[Arc<OutgoingEvent>], seen_offset: u64, recovers: bool) {
        let accepted = |seen_offset| DeliveryProgress::Accepted { seen_offset, recovers };
        let before = self.progress.replace(accepted(0));
        first.iter().for_each(|event| self.send_shared(event));
        self.progress.replace(accepted(seen_offset));
        if let DeliveryProgress::Early(events) = before {
            events.iter().for_each(|event| self.send_shared(event));
        }
    }

    /// The socket has left: it gets nothing more.
    pub(super) fn left(&self) {
        self.progress.replace(DeliveryProgress::Left);
    }

    /// Sends an event that other sockets get too, or that this one missed; never twice.
    pub fn send_shared(&self, event: &Arc<OutgoingEvent>) {
        self.send_with(event, ConnectionOutlet::queue_shared);
    }

    /// Sends an event that is for this socket alone.
    pub(super) fn send(&self, event: &Arc<OutgoingEvent>) {
        self.send_with(event, ConnectionOutlet::queue);
    }

    fn send_with(&self, event: &Arc<OutgoingEvent>, queue: fn(&ConnectionOutlet, OutgoingPacket)) {
        match &mut *self.progress.borrow_mut() {
            DeliveryProgress::Early(events) => {
                events.push(Arc::clone(event));
                if events.len() > MAX_EARLY_EVENTS {
                    self.connection.close(CloseReason::TooSlow);
                }
            }
            DeliveryProgress::Accepted { seen_offset, recovers } => {
                if event.offset().is_none_or(|offset| offset > *seen_offset) {
                    let packets = event.packets(self.namespace, None, *recovers);
                    packets.for_each(|packet| queue(&self.connection, packet));
                }
            }
            DeliveryProgress::Left => {}
        }
    }
}
