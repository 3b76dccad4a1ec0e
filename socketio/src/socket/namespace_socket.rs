//! One socket: a client in one namespace, and what others tell it.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::{sync::oneshot, time::Instant};

use super::{AcceptedSocket, Application, ClientEvent, OutgoingEvent, SocketOutlet};
use crate::engine::{ConnectionLink, Protocol};

/// How many events of one socket wait while another is handled; then the transport reads no more.
const MAX_WAITING: usize = 32;

/// How many bytes these events may have together.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How many acknowledgements a socket may owe.
const MAX_OPEN_ACKS: usize = 64;

/// The period of the event rate.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// Tells the sockets of a process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// What others tell a connection.
pub enum SocketNotice {
    /// An event that a socket has to acknowledge. The reply is dropped if the socket is gone or owes too many.
    EmitWithAck {
        /// The socket.
        to: SocketId,
        /// The event.
        event: Arc<OutgoingEvent>,
        /// Where the acknowledgement goes.
        reply: oneshot::Sender<ClientAck>,
    },
    /// The rights of clients have changed.
    Review,
}

/// A client's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAck {
    /// A JSON array.
    pub args: ByteString,
    /// Binary for the placeholders of the array.
    pub attachments: Vec<Bytes>,
}

/// A client in one namespace.
pub(super) struct NamespaceSocket<A: Application> {
    pub(super) outlet: Rc<SocketOutlet>,
    pub(super) stage: SocketStage<A>,
    /// Events that came while another is handled.
    waiting: VecDeque<ClientEvent>,
    waiting_bytes: usize,
    /// Whether its rights are checked when the current event is done.
    pub(super) is_review_due: bool,
    /// For events of both kinds.
    meters: [EventMeter; 2],
    open_acks: BTreeMap<u64, oneshot::Sender<ClientAck>>,
    last_ack: u64,
}

/// What a socket is doing.
pub(super) enum SocketStage<A: Application> {
    /// The application has not decided about it yet.
    Connecting,
    /// It waits for events.
    Idle(A::Socket),
    /// The application handles an event, and has the socket.
    Working,
}

impl<A: Application> Drop for NamespaceSocket<A> {
    fn drop(&mut self) {
        self.outlet.left();
    }
}

impl<A: Application> NamespaceSocket<A> {
    pub(super) fn new(outlet: Rc<SocketOutlet>) -> Self {
        Self {
            outlet,
            stage: SocketStage::Connecting,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_review_due: false,
            meters: Default::default(),
            open_acks: BTreeMap::new(),
            last_ack: 0,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !matches!(self.stage, SocketStage::Connecting)
    }

    /// Whether the client should send no more events for now.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting.len() >= MAX_WAITING || self.waiting_bytes >= MAX_WAITING_BYTES
    }

    pub(super) fn id(&self) -> SocketId {
        self.outlet.id()
    }

    pub(super) fn namespace(&self) -> &'static str {
        self.outlet.namespace()
    }

    /// Starts to deliver events: first those that the application gives it, then those that came early.
    pub(super) fn accept(&mut self, accepted: AcceptedSocket<A::Socket>) {
        self.stage = SocketStage::Idle(accepted.socket);
        let AcceptedSocket { first_events, seen_offset, pid, .. } = accepted;
        self.outlet.accept(&first_events, seen_offset, pid.is_some());
    }

    /// Sends an event that the client has to acknowledge.
    pub(super) fn send_with_ack<P: Protocol>(
        &mut self,
        event: &OutgoingEvent,
        reply: oneshot::Sender<ClientAck>,
        link: &mut ConnectionLink<'_, P>,
    ) {
        // Acknowledgements that nobody waits for any more do not count.
        self.open_acks.retain(|_, reply| !reply.is_closed());
        if !self.is_connected() || self.open_acks.len() >= MAX_OPEN_ACKS {
            return;
        }
        self.last_ack += 1;
        self.open_acks.insert(self.last_ack, reply);
        let packets = event.packets(self.namespace(), Some(self.last_ack), false);
        packets.for_each(|packet| link.send(packet));
    }

    /// The client acknowledged an event.
    pub(super) fn acknowledged(&mut self, id: u64, ack: ClientAck) {
        if let Some(reply) = self.open_acks.remove(&id) {
            let _not_awaited = reply.send(ack);
        }
    }

    /// Counts an event. The error is in how many milliseconds the next one is accepted.
    pub(super) fn meter(&mut self, apart: bool, limit: usize) -> Result<(), u64> {
        let [first, second] = &mut self.meters;
        let meter = if apart { second } else { first };
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        meter.count(limit, Instant::now()).map_err(millis)
    }

    /// Queues an event. Returns the next event to handle, as [`Self::next_event`].
    pub(super) fn enqueue(&mut self, event: ClientEvent) -> Option<(A::Socket, ClientEvent)> {
        self.waiting_bytes += event.size_bytes();
        self.waiting.push_back(event);
        self.next_event()
    }

    /// The next event to handle and the socket for the application, unless it handles one already.
    pub(super) fn next_event(&mut self) -> Option<(A::Socket, ClientEvent)> {
        if self.waiting.is_empty() {
            return None;
        }
        match std::mem::replace(&mut self.stage, SocketStage::Working) {
            SocketStage::Idle(socket) => {
                let event = self.waiting.pop_front()?;
                self.waiting_bytes -= event.size_bytes();
                Some((socket, event))
            }
            other => {
                self.stage = other;
                None
            }
        }
    }
}

/// Limits the events of any second, wherever the second starts.
#[derive(Debug, Default)]
struct EventMeter {
    /// When the recent events came; at most as many as the limit.
    recent: VecDeque<Instant>,
}

impl EventMeter {
    /// Counts an event. A limit of 0 is none. The error is how long to wait for the next one; a refused event does not
    /// count.
    fn count(&mut self, limit: usize, now: Instant) -> Result<(), Duration> {
        if limit == 0 {
            return Ok(());
        }
        while self.recent.front().is_some_and(|first| now.duration_since(*first) >= RATE_PERIOD) {
            self.recent.pop_front();
        }
        match self.recent.front() {
            Some(first) if self.recent.len() >= limit => Err(RATE_PERIOD - now.duration_since(*first)),
            _ => {
                self.recent.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_second_has_at_most_as_many_events_as_the_limit() {
        let start = Instant::now();
        let mut meter = EventMeter::default();
        let mut count = |millis| meter.count(2, start + Duration::from_millis(millis));
        assert_eq!(count(0), Ok(()));
        assert_eq!(count(900), Ok(()));
        assert_eq!(count(950), Err(Duration::from_millis(50)));
        assert_eq!(count(1_000), Ok(()), "the first is a second old, and the refused one does not count");
        assert_eq!(count(1_100), Err(Duration::from_millis(800)));
        assert_eq!(EventMeter::default().count(0, start), Ok(()));
    }
}
