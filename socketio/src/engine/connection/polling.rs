//! The polling transport: a GET waits for packets, a POST brings some.

use std::time::Duration;

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use super::{
    ActiveTransport, CloseReason, ConnectionPermit, EngineConnection, EnginePacket, OutgoingPacket, Protocol,
};
use crate::engine::{encode_payload, packet::MalformedEnginePacket, send_queue::SendQueue};

/// How long a poll during an upgrade waits for the upgrade to complete. The poll arrives on another TCP connection,
/// perhaps on another worker, and may overtake what the websocket sent before it.
const OVERTAKE_TIMEOUT: Duration = Duration::from_millis(30);

/// The open requests of a polling client.
pub(in crate::engine) struct PollingTransport {
    poll: Option<oneshot::Sender<String>>,
    /// When the poll arrived.
    poll_since: Instant,
    /// Whether the body of a POST is on its way.
    is_posting: bool,
    /// What the last poll of a closed connection fetches.
    last_payload: Option<String>,
    /// Counts the client as long as it polls; a websocket brings a permit of its own.
    _permit: ConnectionPermit,
}

/// A request that the state of the connection does not allow, and why: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct PollingError(pub(in crate::engine) &'static str);

const CLOSED: PollingError = PollingError("The connection has ended");
const UPGRADED: PollingError = PollingError("The connection is a websocket by now");

impl PollingTransport {
    pub(super) fn new(permit: ConnectionPermit) -> Self {
        let poll_since = Instant::now();
        Self { poll: None, poll_since, is_posting: false, last_payload: None, _permit: permit }
    }

    /// Answers the open poll with what waits: after a burst as much as the queue's limit, and the rest with the next
    /// poll.
    pub(super) fn flush(&mut self, queue: &mut SendQueue) {
        if let Some(poll) = self.poll.take() {
            let packets = queue.take_limit();
            // The connection of a client that has just gone away closes, so nobody misses these.
            let _gone = poll.send(encode_payload(&packets));
        }
    }

    /// Answers the open poll even with nothing, so that the client can continue on its websocket.
    fn release(&mut self, queue: &mut SendQueue) {
        if queue.is_empty()
            && let Some(poll) = self.poll.take()
        {
            let _gone = poll.send(encode_payload([&OutgoingPacket::NOOP]));
        }
        self.flush(queue);
    }

    /// Sends the last packets. Returns whether nothing is left to fetch.
    ///
    /// A close packet is final for some clients (python-socketio), so only clients that are not wanted get one. The
    /// poll of any other is refused, as a websocket would break, and the client reconnects.
    pub(super) fn hang_up(&mut self, reason: CloseReason, queue: &mut SendQueue) -> bool {
        let last = match reason {
            // The client knows: its poll ends with nothing.
            CloseReason::ClientLeft => Some(OutgoingPacket::NOOP),
            CloseReason::Refused
            | CloseReason::Malformed
            | CloseReason::TooOften
            | CloseReason::ConnectTimeout => Some(OutgoingPacket::CLOSE),
            _ => None,
        };
        let mut packets = if reason.delivers_queue() { queue.take_limit() } else { Vec::new() };
        packets.extend(last);
        match self.poll.take() {
            _refused if packets.is_empty() => true,
            Some(poll) => poll.send(encode_payload(&packets)).is_ok(),
            None if reason.delivers_queue() || reason == CloseReason::ClientLeft => {
                self.last_payload = Some(encode_payload(&packets));
                false
            }
            None => true,
        }
    }
}

impl<P: Protocol> EngineConnection<P> {
    /// Answers the open poll, so that the client can continue on its websocket: at once, unless the poll is so young
    /// that the client's last packet on the websocket may still be on its way.
    pub(super) fn release_poll(&mut self, ctx: &mut Context<Self>) {
        let Some(age) = self.with_polling(|polling, _| polling.poll_since.elapsed()) else { return };
        if age >= OVERTAKE_TIMEOUT {
            self.with_polling(PollingTransport::release);
        } else {
            ctx.run_later(OVERTAKE_TIMEOUT - age, |connection, _| {
                connection.with_polling(PollingTransport::release);
            });
        }
    }

    /// Works on the polling transport, if that is the one in use.
    fn with_polling<T>(&self, work: impl FnOnce(&mut PollingTransport, &mut SendQueue) -> T) -> Option<T> {
        self.state.outlet.with(|outlet| match &mut outlet.transport {
            ActiveTransport::Polling(polling) => Some(work(polling, &mut outlet.queue)),
            ActiveTransport::WebSocket(_) | ActiveTransport::Gone => None,
        })
    }
}

/// What becomes of a poll.
enum PollStart {
    Waits,
    /// Another one waits.
    Second,
    /// The connection has closed; what there is left to fetch.
    Last(Option<String>),
}

/// A GET. The result is the body of its answer.
#[derive(Message)]
#[rtype(result = "Result<String, PollingError>")]
pub(in crate::engine) struct PollStarted;

impl<P: Protocol> Handler<PollStarted> for EngineConnection<P> {
    type Result = Response<Result<String, PollingError>>;

    fn handle(&mut self, _: PollStarted, ctx: &mut Self::Context) -> Self::Result {
        self.check_heartbeat(ctx);
        let is_closed = self.state.closed.is_some();
        let (answer, body) = oneshot::channel();
        let started = self.with_polling(|polling, _| match polling.poll {
            _ if is_closed => PollStart::Last(polling.last_payload.take()),
            Some(_) => PollStart::Second,
            None => {
                polling.poll = Some(answer);
                polling.poll_since = Instant::now();
                PollStart::Waits
            }
        });
        match started {
            None => return Response::reply(Err(UPGRADED)),
            Some(PollStart::Last(payload)) => {
                if payload.is_some() {
                    ctx.stop();
                }
                return Response::reply(payload.ok_or(CLOSED));
            }
            Some(PollStart::Second) => {
                const SECOND: &str = "A second poll while one waits";
                self.close_violation(SECOND, ctx);
                return Response::reply(Err(PollingError(SECOND)));
            }
            Some(PollStart::Waits) => {}
        }
        if self.is_probed() {
            self.release_poll(ctx);
        } else {
            self.state.outlet.flush();
        }
        Response::fut(async { body.await.map_err(|_closed| CLOSED) })
    }
}

/// The client of a poll went away.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::engine) struct PollAbandoned;

impl<P: Protocol> Handler<PollAbandoned> for EngineConnection<P> {
    type Result = ();

    fn handle(&mut self, _: PollAbandoned, ctx: &mut Self::Context) {
        // A connection that was upgraded in the meantime needs no poll.
        if self.with_polling(|_, _| ()).is_some() {
            self.close(CloseReason::TransportLost, ctx);
        }
    }
}

/// A POST whose body is on its way.
#[derive(Message)]
#[rtype(result = "Result<(), PollingError>")]
pub(in crate::engine) struct PostStarted;

impl<P: Protocol> Handler<PostStarted> for EngineConnection<P> {
    type Result = Result<(), PollingError>;

    fn handle(&mut self, _: PostStarted, ctx: &mut Self::Context) -> Self::Result {
        self.check_heartbeat(ctx);
        if self.state.closed.is_some() {
            return Err(self.with_polling(|_, _| CLOSED).unwrap_or(UPGRADED));
        }
        match self.with_polling(|polling, _| std::mem::replace(&mut polling.is_posting, true)) {
            Some(false) => Ok(()),
            Some(true) => {
                const SECOND: &str = "A second POST while one comes";
                self.close_violation(SECOND, ctx);
                Err(PollingError(SECOND))
            }
            None => Err(UPGRADED),
        }
    }
}

/// The body of a POST.
#[derive(Message)]
#[rtype(result = "Result<(), PollingError>")]
pub(in crate::engine) enum PostReceived {
    Whole(Result<Vec<EnginePacket>, MalformedEnginePacket>),
    /// It is over the limit. Later packets would follow a gap, so the connection closes, as with a websocket.
    TooLarge,
    /// It did not arrive.
    Nothing,
}

impl<P: Protocol> Handler<PostReceived> for EngineConnection<P> {
    type Result = Response<Result<(), PollingError>>;

    fn handle(&mut self, body: PostReceived, ctx: &mut Self::Context) -> Self::Result {
        self.with_polling(|polling, _| polling.is_posting = false);
        let packets = match body {
            PostReceived::Whole(Ok(packets)) => packets,
            PostReceived::Whole(Err(MalformedEnginePacket)) => {
                self.close_violation(MalformedEnginePacket::TEXT, ctx);
                return Response::reply(Err(PollingError(MalformedEnginePacket::TEXT)));
            }
            PostReceived::TooLarge => {
                self.close(CloseReason::TooLarge, ctx);
                return Response::reply(Err(PollingError(CloseReason::TooLarge.text())));
            }
            PostReceived::Nothing => return Response::reply(Err(PollingError("The body did not come"))),
        };
        for packet in packets {
            if self.state.is_ending() {
                break;
            }
            self.state.engine.metrics.received(packet.size_bytes());
            self.receive(packet, ctx);
        }
        self.settle(ctx);
        match (self.state.closed, self.pause_post()) {
            (Some(reason @ CloseReason::Malformed), _) => {
                Response::reply(Err(PollingError(self.state.violation.unwrap_or(reason.text()))))
            }
            (_, None) => Response::reply(Ok(())),
            (_, Some(paused)) => Response::fut(async {
                // If the connection closed in the meantime, the body was handled all the same.
                let _closed = paused.await;
                Ok(())
            }),
        }
    }
}
