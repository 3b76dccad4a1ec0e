//! What a connection is waiting for, and since when: the one place that knows its deadlines.
//!
//! The stream tells what passes through it, and the outermost middleware where a request begins and where it is
//! answered. From this follows whose turn it is. A deadline runs only while it is the client's: a request that is
//! being worked on and a long poll have none, and neither has a websocket, whose engine has a heartbeat.
//!
//! | state | ends after |
//! |---|---|
//! | a head is incomplete, or there was none yet | [`HEAD`] from its first byte, or from the connection's begin |
//! | an answer is not taken by the client | [`ANSWER`], and a second more for each [`RATE`] bytes it has taken |
//! | no request is under way | [`IDLE`], [`IDLE_WHEN_SHORT`] when descriptors run short |
//!
//! A body is read by its handler, which can still answer: its deadline is in [`super::body`]. What comes of a body
//! after an early answer is treated as an incomplete head.
//!
//! Nothing here takes a lock or allocates: a connection lives on one thread.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use memchr::memmem;
use tokio::time::Instant;

use super::ledger::{Ended, Listener};

/// How long a request's head may take.
pub const HEAD: Duration = Duration::from_secs(10);

/// How long an answer may wait for a client that takes nothing of it.
pub const ANSWER: Duration = Duration::from_secs(10);

/// How long a connection without a request is kept. Proxies keep theirs for 60 s, and must be the first to end one.
pub const IDLE: Duration = Duration::from_secs(75);

/// The same when descriptors run short.
pub const IDLE_WHEN_SHORT: Duration = Duration::from_secs(10);

/// What a client must send or take after the first seconds, in bytes a second.
pub const RATE: u64 = 8 * 1024;

/// How often at the least a watch is looked at: the shortest of the deadlines, so that none that begins meanwhile is
/// missed and a request moves no timer.
const LOOK: Duration = HEAD;

/// What ends a request's head, and a chunked body without trailers.
const BLANK_LINE: [u8; 4] = *b"\r\n\r\n";

/// When a transfer that began at `begun` and has brought so many bytes is too slow.
#[must_use]
pub fn paced(begun: Instant, patience: Duration, bytes: u64) -> Instant {
    begun + patience + Duration::from_millis(bytes.saturating_mul(1_000) / RATE)
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no request.
    Idle,
    /// A request's head has begun, or should have.
    Head,
    /// A request is being worked on.
    Serving(BodyLength),
    /// It is a websocket now.
    Upgraded,
}

/// How long a request's body is, as its head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// So many bytes.
    Bytes(u64),
    /// As many as its chunks say.
    Chunked,
}

/// An answer, or a part of one, that the kernel has no room for.
#[derive(Debug, Clone, Copy)]
struct Unwritten {
    since: Instant,
    /// What the kernel took since.
    bytes: u64,
}

/// What has come in of a request.
#[derive(Debug, Clone, Copy, Default)]
struct Received {
    /// Whether anything came since the last answer.
    any: bool,
    /// Bytes after the end of the head, if that was seen.
    after_head: Option<u64>,
    /// The last bytes.
    tail: [u8; 4],
}

/// Follows one connection.
pub struct ConnectionWatch {
    listener: Arc<Listener>,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    received: Cell<Received>,
    unwritten: Cell<Option<Unwritten>>,
    ended: Cell<Option<Ended>>,
    /// Whether it may ask for nothing but the service's health.
    is_reserve: bool,
    waker: RefCell<Option<Waker>>,
    /// Its place on the roster.
    pub(super) slot: Cell<usize>,
}

impl ConnectionWatch {
    pub(super) fn new(listener: Arc<Listener>, is_reserve: bool, now: Instant) -> Self {
        Self {
            listener,
            phase: Cell::new(Phase::Head),
            since: Cell::new(now),
            received: Cell::default(),
            unwritten: Cell::default(),
            ended: Cell::default(),
            is_reserve,
            waker: RefCell::default(),
            slot: Cell::default(),
        }
    }

    /// Whether it may ask for nothing but the service's health.
    pub(super) fn is_reserve(&self) -> bool {
        self.is_reserve
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.phase.get() == Phase::Upgraded
    }

    /// Why it is over, if it is.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.get()
    }

    /// Whether the client has begun a request that was never complete.
    pub(super) fn has_half_a_head(&self) -> bool {
        self.phase.get() == Phase::Head && self.received.get().any && self.unwritten.get().is_none()
    }

    /// Counts an end that somebody else sees to.
    pub(super) fn count(&self, reason: Ended) {
        self.listener.count_ended(reason);
    }

    /// The client has sent something.
    pub(super) fn received(&self, bytes: &[u8]) {
        let phase = self.phase.get();
        if phase == Phase::Upgraded {
            return;
        }
        if phase == Phase::Idle {
            self.enter(Phase::Head, Instant::now());
        }
        let mut received = self.received.get();
        received.take(bytes);
        self.received.set(received);
    }

    /// A request's head is complete, and the application has it.
    pub(super) fn begins(&self, body: BodyLength) {
        self.enter(Phase::Serving(body), Instant::now());
    }

    /// The application has answered. If the client has not sent exactly its request, the rest is taken for the begin
    /// of another.
    pub(super) fn answered(&self) {
        let Phase::Serving(body) = self.phase.get() else { return };
        let is_whole = self.received.replace(Received::default()).is_exactly(body);
        self.enter(if is_whole { Phase::Idle } else { Phase::Head }, Instant::now());
    }

    /// The application has made it a websocket.
    pub(super) fn upgraded(&self) {
        self.phase.set(Phase::Upgraded);
    }

    /// The kernel took so many bytes of what there was to write.
    pub(super) fn wrote(&self, bytes: usize, is_all: bool) {
        let Some(mut unwritten) = self.unwritten.get() else { return };
        if is_all {
            self.unwritten.set(None);
            // Only now is it the client's turn.
            if matches!(self.phase.get(), Phase::Idle | Phase::Head) {
                self.since.set(Instant::now());
            }
            return;
        }
        unwritten.bytes += bytes as u64;
        self.unwritten.set(Some(unwritten));
    }

    /// The kernel has no room for what there is to write.
    pub(super) fn write_waits(&self) {
        if self.unwritten.get().is_none() && !self.is_upgraded() {
            self.unwritten.set(Some(Unwritten { since: Instant::now(), bytes: 0 }));
        }
    }

    /// When to look again, if ever.
    ///
    /// # Errors
    /// Why it is over, when it is; it stays so.
    pub(super) fn look(&self, now: Instant) -> Result<Option<Instant>, Ended> {
        if self.is_upgraded() {
            return Ok(None);
        }
        match self.due() {
            Some((at, reason)) if at <= now => {
                self.end(reason);
                Err(reason)
            }
            Some((at, _)) => Ok(Some(at.min(now + LOOK))),
            None => Ok(Some(now + LOOK)),
        }
    }

    /// Since when it keeps the service waiting. None while the service works for it, and for a websocket.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        if self.ended.get().is_some() {
            return None;
        }
        let since = self.since.get();
        match (self.phase.get(), self.unwritten.get()) {
            (Phase::Upgraded, _) => None,
            (_, Some(unwritten)) => Some(unwritten.since),
            (Phase::Idle | Phase::Head, None) => Some(since),
            (Phase::Serving(body), None) => (!self.received.get().is_exactly(body)).then_some(since),
        }
    }

    /// Ends it, and wakes whoever serves it.
    pub(super) fn displace(&self) {
        self.end(Ended::Displaced);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Who serves it.
    pub(super) fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn due(&self) -> Option<(Instant, Ended)> {
        if let Some(Unwritten { since, bytes }) = self.unwritten.get() {
            return Some((paced(since, ANSWER, bytes), Ended::SlowReader));
        }
        let since = self.since.get();
        match self.phase.get() {
            Phase::Idle if self.listener.is_short() => Some((since + IDLE_WHEN_SHORT, Ended::Idle)),
            Phase::Idle => Some((since + IDLE, Ended::Idle)),
            Phase::Head => Some((since + HEAD, Ended::SlowHead)),
            Phase::Serving(_) | Phase::Upgraded => None,
        }
    }

    fn enter(&self, phase: Phase, now: Instant) {
        self.phase.set(phase);
        self.since.set(now);
    }

    fn end(&self, reason: Ended) {
        self.ended.set(Some(reason));
        self.count(reason);
    }
}

impl Received {
    fn take(&mut self, bytes: &[u8]) {
        self.any = true;
        match &mut self.after_head {
            Some(after) => *after += bytes.len() as u64,
            None => self.after_head = self.behind_blank_line(bytes),
        }
        match bytes {
            [.., a, b, c, d] => self.tail = [*a, *b, *c, *d],
            few => {
                self.tail.rotate_left(few.len());
                self.tail.iter_mut().rev().zip(few.iter().rev()).for_each(|(kept, byte)| *kept = *byte);
            }
        }
    }

    /// How many of the next bytes are behind the blank line that ends the head, which may have begun before them.
    fn behind_blank_line(&self, bytes: &[u8]) -> Option<u64> {
        let ends_across = (1..BLANK_LINE.len()).find(|&split| {
            let (before, after) = BLANK_LINE.split_at(split);
            self.tail.ends_with(before) && bytes.starts_with(after)
        });
        let end = ends_across
            .map(|split| BLANK_LINE.len() - split)
            .or_else(|| memmem::find(bytes, &BLANK_LINE).map(|begin| begin + BLANK_LINE.len()))?;
        Some(bytes.len().saturating_sub(end) as u64)
    }

    /// Whether it is one request to its end and nothing more.
    fn is_exactly(&self, body: BodyLength) -> bool {
        match body {
            BodyLength::Bytes(length) => self.after_head == Some(length),
            BodyLength::Chunked => self.after_head.is_some_and(|bytes| bytes > 0) && self.tail == BLANK_LINE,
        }
    }
}

#[cfg(test)]
mod tests;
