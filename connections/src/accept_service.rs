//! Admits accepted streams; each worker of a listener has one such service.
//!
//! When every descriptor is in use, a new connection displaces the one that has kept the server waiting for longest:
//! an idle one, or one whose client does not send its request or does not take its answer. If all are busy, the new
//! connection may still be a health check. Once the reserve for those is used up, the server refuses it.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::{Protocol, error::DispatchError};
use actix_service::Service;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    connection_limits::{ConnectionSlot, ListenerConnections, RefusalReason, SlotKind},
    connection_watch::ConnectionWatch,
    watched_stream::WatchedStream,
};

/// How long a peer may acknowledge nothing before the kernel drops the connection.
const PEER_TIMEOUT: Duration = Duration::from_secs(20);

/// How many unsent bytes the kernel may hold. With more, a slow client would seem to take nothing for a long time and
/// then much at once.
const MAX_UNSENT_BYTES: u32 = 64 * 1024;

/// How many connections are compared to find the one that has waited for longest.
const SAMPLE: usize = 64;

/// How much of a refused request is read. The client loses the answer when a socket is closed with unread bytes.
const REFUSED_REQUEST_BYTES: usize = 4_096;

/// The watched connections of a worker, in no order.
#[derive(Default)]
struct WatchList {
    watches: RefCell<Vec<Rc<ConnectionWatch>>>,
    /// Where the next search starts.
    cursor: Cell<usize>,
}

impl WatchList {
    fn add(&self, watch: &Rc<ConnectionWatch>) {
        let mut watches = self.watches.borrow_mut();
        watch.list_index.set(watches.len());
        watches.push(Rc::clone(watch));
    }

    fn remove(&self, watch: &ConnectionWatch) {
        let mut watches = self.watches.borrow_mut();
        let index = watch.list_index.get();
        if index < watches.len() {
            watches.swap_remove(index);
        }
        if let Some(moved) = watches.get(index) {
            moved.list_index.set(index);
        }
    }

    /// Ends the connection of a sample that has waited for its client for longest. Returns whether there was one.
    fn displace(&self) -> bool {
        let watches = self.watches.borrow();
        let (before, after) = watches.split_at(self.cursor.get().min(watches.len()));
        let sample = after.iter().chain(before).take(SAMPLE);
        let waiting = sample.filter_map(|watch| Some((watch.waiting_since()?, watch)));
        let longest = waiting.min_by_key(|(since, _)| *since);
        self.cursor.set((self.cursor.get() + SAMPLE) % watches.len().max(1));
        longest.map(|(_, watch)| watch.displace()).is_some()
    }
}

/// Admits streams to a service that speaks HTTP.
pub(super) struct AcceptService<H> {
    http: H,
    listener: Arc<ListenerConnections>,
    watches: Rc<WatchList>,
}

impl<H> AcceptService<H> {
    pub(super) fn new(http: H, listener: Arc<ListenerConnections>) -> Self {
        Self { http, listener, watches: Rc::default() }
    }

    fn admit(&self, peer: SocketAddr) -> Result<(ConnectionSlot, Rc<ConnectionWatch>), RefusalReason> {
        let slot = self.listener.take_slot(peer.ip())?;
        let is_for_health_checks = match slot.kind() {
            SlotKind::Regular => false,
            kind => match (self.watches.displace(), kind) {
                (true, _) => false,
                (false, SlotKind::HealthCheck) => true,
                (false, _) => return Err(RefusalReason::NoDescriptor),
            },
        };
        let listener = Arc::clone(&self.listener);
        let watch = Rc::new(ConnectionWatch::new(listener, is_for_health_checks, Instant::now()));
        self.watches.add(&watch);
        Ok((slot, watch))
    }

    /// Answers without waiting for the client.
    fn refuse(&self, tcp: &TcpStream, reason: RefusalReason) {
        let bodies = self.listener.error_bodies();
        let answer = match reason {
            RefusalReason::AddressLimit => bodies.address_limit_response(),
            RefusalReason::NoDescriptor => bodies.overloaded_response(),
        };
        let socket = SockRef::from(tcp);
        let _maybe_no_request = socket.recv(&mut [MaybeUninit::uninit(); REFUSED_REQUEST_BYTES]);
        let _maybe_not_taken = socket.send(answer.as_bytes());
    }
}

impl<H> Service<TcpStream> for AcceptService<H>
where
    H: Service<(WatchedStream, Protocol, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    type Response = ();
    type Error = ();
    type Future = ServedConnection<H::Future>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.http.poll_ready(cx).map_err(|_logged| ())
    }

    fn call(&self, tcp: TcpStream) -> Self::Future {
        // A peer that is already gone has no address.
        let Ok(peer) = tcp.peer_addr() else { return ServedConnection(None) };
        match self.admit(peer) {
            Ok((slot, watch)) => {
                configure(&tcp);
                let stream = WatchedStream::new(tcp, Rc::clone(&watch));
                let http = Box::pin(self.http.call((stream, Protocol::Http1, Some(peer))));
                let watches = Rc::clone(&self.watches);
                let watched = WatchedConnection { http, timer: None, watch, watches };
                ServedConnection(Some((ConnectionStage::Http(Box::new(watched)), slot)))
            }
            Err(reason) => {
                self.listener.count_refused(reason);
                self.refuse(&tcp, reason);
                ServedConnection(None)
            }
        }
    }
}

fn configure(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    let configured = tcp
        .set_nodelay(true)
        // The kernel drops a peer that vanished or that reads nothing.
        .and_then(|()| socket.set_tcp_user_timeout(Some(PEER_TIMEOUT)))
        .and_then(|()| socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES));
    if let Err(error) = configured {
        tracing::debug!(%error, "a connection has not all of its socket options");
    }
}

/// Serves a connection to its end; a refused connection is over at once. The slot is freed after the stream is closed.
pub(super) struct ServedConnection<F>(Option<(ConnectionStage<F>, ConnectionSlot)>);

/// Who has the connection. HTTP is boxed: a connection that is taken over keeps nothing of it.
enum ConnectionStage<F> {
    Http(Box<WatchedConnection<F>>),
    /// Until this ends.
    TakenOver(oneshot::Receiver<()>),
}

struct WatchedConnection<F> {
    http: Pin<Box<F>>,
    /// The only timer. There is none before the first check, and a websocket needs none.
    timer: Option<Pin<Box<Sleep>>>,
    watch: Rc<ConnectionWatch>,
    watches: Rc<WatchList>,
}

impl<F: Future<Output = Result<(), DispatchError>>> Future for ServedConnection<F> {
    type Output = Result<(), ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((stage, _)) = &mut self.0 else { return Poll::Ready(Ok(())) };
        if let ConnectionStage::Http(connection) = stage {
            ready!(connection.poll(cx));
            match connection.watch.take_successor() {
                Some(ended) => *stage = ConnectionStage::TakenOver(ended),
                None => return Poll::Ready(Ok(())),
            }
        }
        match stage {
            // Nothing is ever sent: it ends when the other side is dropped.
            ConnectionStage::TakenOver(ended) => Pin::new(ended).poll(cx).map(|_dropped| Ok(())),
            ConnectionStage::Http(_) => Poll::Ready(Ok(())),
        }
    }
}

impl<F: Future<Output = Result<(), DispatchError>>> WatchedConnection<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch.register(cx.waker());
        self.check_deadlines(cx);
        if self.watch.end_reason().is_some() && !self.watch.has_partial_head() {
            return Poll::Ready(());
        }
        match self.http.as_mut().poll(cx) {
            Poll::Ready(result) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection failed");
                }
                Poll::Ready(())
            }
            Poll::Pending if self.watch.end_reason().is_some() => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Asks the watch when its next check is due.
    fn check_deadlines(&mut self, cx: &mut Context<'_>) {
        if self.watch.is_upgraded() {
            self.timer = None;
            return;
        }
        loop {
            // A polled timer wakes this task, so it need not be polled again before it fires.
            if self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed()) {
                return;
            }
            let Ok(Some(next)) = self.watch.check(Instant::now()) else { return };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            timer.as_mut().reset(next);
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }
}

impl<F> Drop for WatchedConnection<F> {
    fn drop(&mut self) {
        self.watches.remove(&self.watch);
    }
}
