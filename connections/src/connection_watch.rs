//! What a connection is waiting for, and since when: the one module that knows its deadlines.
//!
//! The stream reports its traffic, and the outermost middleware reports where a request starts and where it is
//! answered. The watch derives whose turn it is. A deadline runs only while it is the client's turn: a request in
//! progress and a long poll have none, and neither has a websocket, which has a heartbeat of its own.
//!
//! | state | ends after |
//! |---|---|
//! | a head is incomplete, or none has come yet | [`HEAD_TIMEOUT`] from its first byte, or from the start of the connection |
//! | the client does not take an answer | [`ANSWER_TIMEOUT`], plus a second for every [`RATE`] bytes it has taken |
//! | there is no request | [`IDLE_TIMEOUT`], or [`SHORT_IDLE_TIMEOUT`] when descriptors run short |
//!
//! A handler reads the body and can still answer, so that deadline is in [`super::request`]. What follows an
//! early answer counts as an incomplete head.
//!
//! Nothing here takes a lock or allocates: a connection lives on one thread.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use memchr::memmem;
use tokio::{sync::oneshot, time::Instant};

use super::{
    connection_limits::{EndReason, ListenerConnections},
    fixed_responses::ErrorBodies,
};

/// How long the head of a request may take.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer waits for a client that takes nothing of it.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection without a request is kept. Proxies keep theirs for 60 s, and must close first.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// The same when descriptors run short.
pub const SHORT_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How fast a client must send or take after the first seconds, in bytes a second.
pub const RATE: u64 = 8 * 1024;

/// The longest time between two checks. It is the shortest of the deadlines, so a check misses none that starts in
/// between, and a request need not move the timer.
const CHECK_INTERVAL: Duration = HEAD_TIMEOUT;

/// Ends the head of a request, and a chunked body without trailers.
const BLANK_LINE: [u8; 4] = *b"\r\n\r\n";

/// Until when a transfer that started then and has brought so many bytes is fast enough.
#[must_use]
pub fn deadline(started: Instant, patience: Duration, bytes: u64) -> Instant {
    started + patience + Duration::from_millis(bytes.saturating_mul(1_000) / RATE)
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchPhase {
    /// There is no request.
    Idle,
    /// A head has started, or should have.
    Head,
    /// The application works on a request.
    Serving(BodyLength),
    /// It is a websocket now.
    Upgraded,
}

/// The length of a request body according to its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// A number of bytes.
    Bytes(u64),
    /// As many as its chunks say.
    Chunked,
}

/// An answer, or a part of one, for which the kernel has no room.
#[derive(Debug, Clone, Copy)]
struct BlockedWrite {
    since: Instant,
    /// What the kernel has taken since.
    bytes: u64,
}

/// What has arrived of a request.
#[derive(Debug, Clone, Copy, Default)]
struct ReceivedBytes {
    /// Whether anything arrived since the last answer.
    any: bool,
    /// Bytes after the end of the head, once that has arrived.
    after_head: Option<u64>,
    /// The last bytes.
    tail: [u8; 4],
}

/// Follows one connection.
pub struct ConnectionWatch {
    listener: Arc<ListenerConnections>,
    phase: Cell<WatchPhase>,
    since: Cell<Instant>,
    received: Cell<ReceivedBytes>,
    blocked_write: Cell<Option<BlockedWrite>>,
    end_reason: Cell<Option<EndReason>>,
    /// Whether the connection may be used for health checks only.
    is_for_health_checks: bool,
    waker: RefCell<Option<Waker>>,
    /// What ends with the connection, after another part of the process has taken it over.
    taken_over: Cell<Option<oneshot::Receiver<()>>>,
    /// Where it is in the list of its worker.
    pub(super) list_index: Cell<usize>,
}

impl ConnectionWatch {
    pub(super) fn new(listener: Arc<ListenerConnections>, is_for_health_checks: bool, now: Instant) -> Self {
        Self {
            listener,
            phase: Cell::new(WatchPhase::Head),
            since: Cell::new(now),
            received: Cell::default(),
            blocked_write: Cell::default(),
            end_reason: Cell::default(),
            is_for_health_checks,
            waker: RefCell::default(),
            taken_over: Cell::default(),
            list_index: Cell::default(),
        }
    }

    /// Whether the connection may be used for health checks only.
    pub(super) fn is_for_health_checks(&self) -> bool {
        self.is_for_health_checks
    }

    pub(super) fn error_bodies(&self) -> &ErrorBodies {
        self.listener.error_bodies()
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.phase.get() == WatchPhase::Upgraded
    }

    /// Why the connection is over, if it is.
    pub(super) fn end_reason(&self) -> Option<EndReason> {
        self.end_reason.get()
    }

    /// Whether the client has started a head and not completed it.
    pub(super) fn has_partial_head(&self) -> bool {
        self.phase.get() == WatchPhase::Head && self.received.get().any && self.blocked_write.get().is_none()
    }

    /// Counts the end of a connection that another part of the code ends.
    pub(super) fn count(&self, reason: EndReason) {
        self.listener.count_ended(reason);
    }

    /// The client has sent something.
    pub(super) fn received(&self, bytes: &[u8]) {
        let phase = self.phase.get();
        if phase == WatchPhase::Upgraded {
            return;
        }
        if phase == WatchPhase::Idle {
            self.enter(WatchPhase::Head, Instant::now());
        }
        let mut received = self.received.get();
        received.take(bytes);
        self.received.set(received);
    }

    /// The head of a request is complete, and the application has it.
    pub(super) fn request_started(&self, body: BodyLength) {
        self.enter(WatchPhase::Serving(body), Instant::now());
    }

    /// The application has answered. If the client has not sent exactly one request, the rest counts as the start of
    /// another.
    pub(super) fn request_answered(&self) {
        let WatchPhase::Serving(body) = self.phase.get() else { return };
        let is_whole = self.received.replace(ReceivedBytes::default()).is_exactly(body);
        self.enter(if is_whole { WatchPhase::Idle } else { WatchPhase::Head }, Instant::now());
    }

    /// The connection is a websocket from now on.
    pub(super) fn upgraded(&self) {
        self.phase.set(WatchPhase::Upgraded);
    }

    /// Another part of the process has taken the connection over until this ends.
    pub(super) fn taken_over(&self, ended: oneshot::Receiver<()>) {
        self.taken_over.set(Some(ended));
    }

    /// What to wait for when HTTP is done with the connection, if it goes on without.
    pub(super) fn take_successor(&self) -> Option<oneshot::Receiver<()>> {
        self.taken_over.take()
    }

    /// The kernel took so many bytes of a write.
    pub(super) fn wrote(&self, bytes: usize, is_all: bool) {
        let Some(mut blocked_write) = self.blocked_write.get() else { return };
        if is_all {
            self.blocked_write.set(None);
            // The client's turn starts only now.
            if matches!(self.phase.get(), WatchPhase::Idle | WatchPhase::Head) {
                self.since.set(Instant::now());
            }
            return;
        }
        blocked_write.bytes += bytes as u64;
        self.blocked_write.set(Some(blocked_write));
    }

    /// The kernel has no room for a write.
    pub(super) fn write_blocked(&self) {
        if self.blocked_write.get().is_none() && !self.is_upgraded() {
            self.blocked_write.set(Some(BlockedWrite { since: Instant::now(), bytes: 0 }));
        }
    }

    /// Checks the deadlines; returns when the next check is due, if ever.
    ///
    /// # Errors
    /// Why the connection is over, when it is; that is final.
    pub(super) fn check(&self, now: Instant) -> Result<Option<Instant>, EndReason> {
        if self.is_upgraded() {
            return Ok(None);
        }
        match self.due() {
            Some((at, reason)) if at <= now => {
                self.end(reason);
                Err(reason)
            }
            Some((at, _)) => Ok(Some(at.min(now + CHECK_INTERVAL))),
            None => Ok(Some(now + CHECK_INTERVAL)),
        }
    }

    /// Since when the client keeps the server waiting. None while the server works for it, and for a websocket.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        if self.end_reason.get().is_some() {
            return None;
        }
        let since = self.since.get();
        match (self.phase.get(), self.blocked_write.get()) {
            (WatchPhase::Upgraded, _) => None,
            (_, Some(blocked_write)) => Some(blocked_write.since),
            (WatchPhase::Idle | WatchPhase::Head, None) => Some(since),
            (WatchPhase::Serving(body), None) => (!self.received.get().is_exactly(body)).then_some(since),
        }
    }

    /// Ends the connection in favour of another, and wakes the task that serves it.
    pub(super) fn displace(&self) {
        self.end(EndReason::Displaced);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Remembers the task that serves the connection.
    pub(super) fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn due(&self) -> Option<(Instant, EndReason)> {
        if let Some(BlockedWrite { since, bytes }) = self.blocked_write.get() {
            return Some((deadline(since, ANSWER_TIMEOUT, bytes), EndReason::SlowReader));
        }
        let since = self.since.get();
        match self.phase.get() {
            WatchPhase::Idle if self.listener.is_short() => {
                Some((since + SHORT_IDLE_TIMEOUT, EndReason::Idle))
            }
            WatchPhase::Idle => Some((since + IDLE_TIMEOUT, EndReason::Idle)),
            WatchPhase::Head => Some((since + HEAD_TIMEOUT, EndReason::SlowHead)),
            WatchPhase::Serving(_) | WatchPhase::Upgraded => None,
        }
    }

    fn enter(&self, phase: WatchPhase, now: Instant) {
        self.phase.set(phase);
        self.since.set(now);
    }

    fn end(&self, reason: EndReason) {
        self.end_reason.set(Some(reason));
        self.count(reason);
    }
}

impl ReceivedBytes {
    fn take(&mut self, bytes: &[u8]) {
        self.any = true;
        match &mut self.after_head {
            Some(after) => *after += bytes.len() as u64,
            None => self.after_head = self.after_blank_line(bytes),
        }
        match bytes {
            [.., a, b, c, d] => self.tail = [*a, *b, *c, *d],
            few => {
                self.tail.rotate_left(few.len());
                self.tail.iter_mut().rev().zip(few.iter().rev()).for_each(|(kept, byte)| *kept = *byte);
            }
        }
    }

    /// How many of the next bytes follow the blank line that ends the head. The line may have started before them.
    fn after_blank_line(&self, bytes: &[u8]) -> Option<u64> {
        let ends_across = (1..BLANK_LINE.len()).find(|&split| {
            let (before, after) = BLANK_LINE.split_at(split);
            self.tail.ends_with(before) && bytes.starts_with(after)
        });
        let end = ends_across
            .map(|split| BLANK_LINE.len() - split)
            .or_else(|| memmem::find(bytes, &BLANK_LINE).map(|start| start + BLANK_LINE.len()))?;
        Some(bytes.len().saturating_sub(end) as u64)
    }

    /// Whether it is exactly one whole request.
    fn is_exactly(&self, body: BodyLength) -> bool {
        match body {
            BodyLength::Bytes(length) => self.after_head == Some(length),
            BodyLength::Chunked => self.after_head.is_some_and(|bytes| bytes > 0) && self.tail == BLANK_LINE,
        }
    }
}

#[cfg(test)]
mod tests;
