//! The polling transport: a GET waits for packets, a POST brings some.

use std::{collections::VecDeque, time::Duration};

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use super::{
    CloseReason, Connection, Outgoing, Protocol,
    connection::Line,
    outbox::Outbox,
    packet::{Malformed, Packet},
    payload,
    sessions::Ticket,
};

/// How long a poll during an upgrade waits for the upgrade to be completed. It comes in on another
/// connection, perhaps on another worker, and may overtake what the websocket said before it.
const OVERTAKING: Duration = Duration::from_millis(30);

/// What a client that polls has open.
pub(super) struct Polling {
    waiting: Option<oneshot::Sender<String>>,
    /// Since when.
    waiting_since: Instant,
    /// Whether a POST's body is on its way.
    posting: bool,
    /// What is left for the last poll of a connection that has ended.
    farewell: Option<String>,
    /// The client's place, as long as it polls; a websocket brings its own.
    _ticket: Ticket,
}

/// A request that a connection's state does not allow, and why: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadRequest(pub(super) &'static str);

const ENDED: BadRequest = BadRequest("The connection has ended");
const UPGRADED: BadRequest = BadRequest("The connection is a websocket by now");

impl Polling {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self { waiting: None, waiting_since: Instant::now(), posting: false, farewell: None, _ticket: ticket }
    }

    /// Answers the poll that waits with what there is; after a burst, with as much as may wait, and the next poll
    /// with the rest.
    pub(super) fn flush(&mut self, outbox: &mut Outbox) {
        if let Some(waiting) = self.waiting.take() {
            let packets = outbox.take_bound();
            // A client that has just gone away ends its connection: nothing is lost that anybody hears.
            let _gone = waiting.send(payload::encode(&packets));
        }
    }

    /// Answers the poll that waits, if one does, so that the client can go on with a websocket.
    pub(super) fn release(&mut self, outbox: &mut Outbox) {
        if outbox.is_empty()
            && let Some(waiting) = self.waiting.take()
        {
            let _gone = waiting.send(payload::encode([&Outgoing::NOOP]));
        }
        self.flush(outbox);
    }

    /// Says good-bye; whether nothing is left to be fetched.
    ///
    /// A close packet is final for some clients (python-socketio), so it is for those that are not wanted.
    /// The poll of any other is refused, as that of a websocket is broken off, and the client comes back.
    pub(super) fn hang_up(&mut self, reason: CloseReason, outbox: &mut Outbox) -> bool {
        let last = match reason {
            // It knows already: its poll ends with nothing.
            CloseReason::ClientLeft => Some(Outgoing::NOOP),
            CloseReason::Refused
            | CloseReason::Malformed
            | CloseReason::TooOften
            | CloseReason::ConnectTimeout => Some(Outgoing::CLOSE),
            _ => None,
        };
        let is_patient = matches!(reason, CloseReason::Refused | CloseReason::ShuttingDown);
        let mut packets = if is_patient { outbox.take_bound() } else { VecDeque::new() };
        packets.extend(last);
        match self.waiting.take() {
            _refused if packets.is_empty() => true,
            Some(waiting) => waiting.send(payload::encode(&packets)).is_ok(),
            None if is_patient || reason == CloseReason::ClientLeft => {
                self.farewell = Some(payload::encode(&packets));
                false
            }
            None => true,
        }
    }
}

impl<P: Protocol> Connection<P> {
    /// Answers the poll that waits, so that the client can go on with its websocket: at once, unless the
    /// poll is so young that the client's last word on the websocket may still be on its way.
    pub(super) fn release_poll(&mut self, ctx: &mut Context<Self>) {
        let Line::Polling(polling) = &mut self.wire.line else { return };
        let age = polling.waiting_since.elapsed();
        if age >= OVERTAKING {
            return polling.release(&mut self.wire.outbox);
        }
        ctx.run_later(OVERTAKING - age, |connection, _| {
            if let Line::Polling(polling) = &mut connection.wire.line {
                polling.release(&mut connection.wire.outbox);
            }
        });
    }
}

/// A GET: the body of its answer.
#[derive(Message)]
#[rtype(result = "Result<String, BadRequest>")]
pub(super) struct Poll;

impl<P: Protocol> Handler<Poll> for Connection<P> {
    type Result = Response<Result<String, BadRequest>>;

    fn handle(&mut self, _: Poll, ctx: &mut Self::Context) -> Self::Result {
        self.check_heartbeat(ctx);
        let is_ended = self.wire.ended.is_some();
        let Line::Polling(polling) = &mut self.wire.line else { return Response::reply(Err(UPGRADED)) };
        if is_ended {
            if polling.farewell.is_some() {
                ctx.stop();
            }
            return Response::reply(polling.farewell.take().ok_or(ENDED));
        }
        if polling.waiting.is_some() {
            const SECOND: &str = "A second poll while one waits";
            self.violated(SECOND, ctx);
            return Response::reply(Err(BadRequest(SECOND)));
        }
        let (answer, waits) = oneshot::channel();
        polling.waiting = Some(answer);
        polling.waiting_since = Instant::now();
        if self.wire.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_probed) {
            self.release_poll(ctx);
        } else {
            self.wire.flush(ctx);
        }
        Response::fut(async { waits.await.map_err(|_ended| ENDED) })
    }
}

/// The client of a poll went away.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Abandoned;

impl<P: Protocol> Handler<Abandoned> for Connection<P> {
    type Result = ();

    fn handle(&mut self, _: Abandoned, ctx: &mut Self::Context) {
        // One that was upgraded meanwhile needs no poll.
        if matches!(self.wire.line, Line::Polling(_)) {
            self.close(CloseReason::TransportLost, ctx);
        }
    }
}

/// A POST begins: its body is on its way.
#[derive(Message)]
#[rtype(result = "Result<(), BadRequest>")]
pub(super) struct Announced;

impl<P: Protocol> Handler<Announced> for Connection<P> {
    type Result = Result<(), BadRequest>;

    fn handle(&mut self, _: Announced, ctx: &mut Self::Context) -> Self::Result {
        self.check_heartbeat(ctx);
        let is_ended = self.wire.ended.is_some();
        match &mut self.wire.line {
            Line::Polling(polling) if !polling.posting && !is_ended => {
                polling.posting = true;
                Ok(())
            }
            Line::Polling(_) if is_ended => Err(ENDED),
            Line::Polling(_) => {
                const SECOND: &str = "A second POST while one comes";
                self.violated(SECOND, ctx);
                Err(BadRequest(SECOND))
            }
            Line::WebSocket { .. } => Err(UPGRADED),
        }
    }
}

/// A POST's body.
#[derive(Message)]
#[rtype(result = "Result<(), BadRequest>")]
pub(super) enum Posted {
    Whole(Result<Vec<Packet>, Malformed>),
    /// It is over the limit. What follows would follow a gap, so the connection ends, as a websocket does.
    TooLarge,
    /// It did not come.
    Nothing,
}

impl<P: Protocol> Handler<Posted> for Connection<P> {
    type Result = Response<Result<(), BadRequest>>;

    fn handle(&mut self, posted: Posted, ctx: &mut Self::Context) -> Self::Result {
        if let Line::Polling(polling) = &mut self.wire.line {
            polling.posting = false;
        }
        let packets = match posted {
            Posted::Whole(Ok(packets)) => packets,
            Posted::Whole(Err(Malformed)) => {
                self.violated(Malformed::TEXT, ctx);
                return Response::reply(Err(BadRequest(Malformed::TEXT)));
            }
            Posted::TooLarge => {
                self.close(CloseReason::TooLarge, ctx);
                return Response::reply(Err(BadRequest(CloseReason::TooLarge.text())));
            }
            Posted::Nothing => return Response::reply(Err(BadRequest("The body did not come"))),
        };
        for packet in packets {
            if self.wire.ended.is_some() {
                break;
            }
            self.wire.shared.metrics.received(packet.size_bytes());
            self.take_in(packet, ctx);
        }
        match (self.wire.ended, self.pause()) {
            (Some(reason @ CloseReason::Malformed), _) => {
                Response::reply(Err(BadRequest(self.wire.fault.unwrap_or(reason.text()))))
            }
            (_, None) => Response::reply(Ok(())),
            (_, Some(paused)) => Response::fut(async {
                // The connection ended meanwhile: what the body brought was taken in all the same.
                let _ended = paused.await;
                Ok(())
            }),
        }
    }
}
