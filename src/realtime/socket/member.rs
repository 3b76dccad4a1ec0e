//! One socket: a client in one namespace.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::oneshot;

use super::{Application, Emission, Event, SocketId, application::Accepted, meter::Meter, protocol::Answer};
use crate::realtime::engine::{CloseReason, Link, Outgoing, Protocol};

/// How many events of one socket wait while another is handled; the transport is not read on then.
const MAX_WAITING: usize = 32;

/// How many bytes they may have together.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How many events are kept for a socket that is being let in.
const MAX_HELD: usize = 1_000;

/// How many acknowledgements a socket may owe.
const MAX_ASKED: usize = 64;

/// A client in one namespace.
pub(super) struct Member<A: Application> {
    pub(super) id: SocketId,
    pub(super) namespace: &'static str,
    pub(super) stage: Stage<A>,
    /// Events that came while another is handled.
    waiting: VecDeque<Event>,
    waiting_bytes: usize,
    /// Events for it from before it is let in.
    held: Vec<Arc<Emission>>,
    /// What it has seen already.
    seen: u64,
    /// Whether it wants to know the offsets of events.
    recovers: bool,
    /// Whether its right to be here is to be looked at when the event at hand is done.
    pub(super) review_due: bool,
    /// For events of both kinds.
    meters: [Meter; 2],
    asked: BTreeMap<u64, oneshot::Sender<Answer>>,
    next_ask: u64,
}

/// How far a socket is.
pub(super) enum Stage<A: Application> {
    /// The application has not decided yet.
    Connecting,
    /// It has nothing to do.
    Idle(A::Socket),
    /// The application has it, and an event.
    Working,
}

impl<A: Application> Member<A> {
    pub(super) fn new(id: SocketId, namespace: &'static str) -> Self {
        Self {
            id,
            namespace,
            stage: Stage::Connecting,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: Vec::new(),
            seen: 0,
            recovers: false,
            review_due: false,
            meters: Default::default(),
            asked: BTreeMap::new(),
            next_ask: 0,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !matches!(self.stage, Stage::Connecting)
    }

    /// Whether it should not be sent more.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting.len() >= MAX_WAITING || self.waiting_bytes >= MAX_WAITING_BYTES
    }

    /// Lets it in: from now on it hears what happens, first what it is told and what was held.
    pub(super) fn accept<P: Protocol>(&mut self, accepted: Accepted<A::Socket>, link: &mut Link<'_, P>) {
        self.stage = Stage::Idle(accepted.socket);
        self.recovers = accepted.pid.is_some();
        for emission in &accepted.first {
            self.hear(emission, link);
        }
        self.seen = accepted.seen.max(self.seen);
        for emission in std::mem::take(&mut self.held) {
            self.hear(&emission, link);
        }
    }

    /// Sends it an event that is for it alone.
    pub(super) fn emit<P: Protocol>(&mut self, emission: &Arc<Emission>, link: &mut Link<'_, P>) {
        self.tell(emission, link, Link::send);
    }

    /// Sends it an event that others hear too, or that it missed; once.
    pub(super) fn hear<P: Protocol>(&mut self, emission: &Arc<Emission>, link: &mut Link<'_, P>) {
        self.tell(emission, link, Link::send_shared);
    }

    fn tell<'a, P: Protocol>(
        &mut self,
        emission: &Arc<Emission>,
        link: &mut Link<'a, P>,
        send: fn(&mut Link<'a, P>, Outgoing),
    ) {
        if !self.is_connected() {
            self.held.push(Arc::clone(emission));
            if self.held.len() > MAX_HELD {
                link.close(CloseReason::TooSlow);
            }
            return;
        }
        if emission.offset().is_some_and(|offset| offset <= self.seen) {
            return;
        }
        emission.packets(self.namespace, None, self.recovers).for_each(|packet| send(link, packet));
    }

    /// Sends it an event that it has to acknowledge.
    pub(super) fn ask<P: Protocol>(
        &mut self,
        emission: &Emission,
        reply: oneshot::Sender<Answer>,
        link: &mut Link<'_, P>,
    ) {
        // Whoever stopped waiting needs no answer.
        self.asked.retain(|_, reply| !reply.is_closed());
        if !self.is_connected() || self.asked.len() >= MAX_ASKED {
            return;
        }
        self.next_ask += 1;
        self.asked.insert(self.next_ask, reply);
        let packets = emission.packets(self.namespace, Some(self.next_ask), false);
        packets.for_each(|packet| link.send(packet));
    }

    /// It acknowledged something.
    pub(super) fn answered(&mut self, id: u64, answer: Answer) {
        if let Some(reply) = self.asked.remove(&id) {
            let _stopped_waiting = reply.send(answer);
        }
    }

    /// Counts an event; the error is after how many milliseconds another is taken.
    pub(super) fn meter(&mut self, apart: bool, limit: usize) -> Result<(), u64> {
        let [messages, others] = &mut self.meters;
        let meter = if apart { others } else { messages };
        let millis = |wait: std::time::Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        meter.count(limit, tokio::time::Instant::now()).map_err(millis)
    }

    /// Takes an event; gives back the next one to handle and what the application needs for it.
    pub(super) fn enqueue(&mut self, event: Event) -> Option<(A::Socket, Event)> {
        self.waiting_bytes += event.size_bytes();
        self.waiting.push_back(event);
        self.next()
    }

    /// The next event to handle, when the application has none.
    pub(super) fn next(&mut self) -> Option<(A::Socket, Event)> {
        if self.waiting.is_empty() {
            return None;
        }
        match std::mem::replace(&mut self.stage, Stage::Working) {
            Stage::Idle(socket) => {
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
