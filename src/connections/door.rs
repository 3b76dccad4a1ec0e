//! Admits accepted streams, one door for each worker of a listener.
//!
//! When every descriptor is in use a new connection displaces the one that has kept the service waiting for longest:
//! an idle one, or one whose client does not send its request or does not take its answer. If all are busy it may
//! still ask after the service's health, and if even the reserve for that is used up it is refused.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{Protocol, error::DispatchError};
use actix_service::Service;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    ledger::{Listener, Place, Refused, Room},
    stream::WatchedStream,
    unparsable,
    watch::ConnectionWatch,
};

/// How long a peer may accept nothing of what it is sent before the kernel gives it up.
const PEER_PATIENCE: Duration = Duration::from_secs(20);

/// How much may wait in the kernel that was not sent yet. With more, a slow client would seem to take nothing for long,
/// and then much at once.
const UNSENT_BYTES: u32 = 64 * 1024;

/// Of how many connections the one is taken that has waited for longest.
const SAMPLE: usize = 64;

/// How much of a refused request is read, so that the refusal is not lost with it.
const REFUSED_BYTES: usize = 4_096;

/// A worker's connections that are watched, in no order.
#[derive(Default)]
struct Roster {
    watches: RefCell<Vec<Rc<ConnectionWatch>>>,
    /// Where to look next.
    hand: Cell<usize>,
}

impl Roster {
    fn add(&self, watch: &Rc<ConnectionWatch>) {
        let mut watches = self.watches.borrow_mut();
        watch.slot.set(watches.len());
        watches.push(Rc::clone(watch));
    }

    fn remove(&self, watch: &ConnectionWatch) {
        let mut watches = self.watches.borrow_mut();
        let slot = watch.slot.get();
        if slot < watches.len() {
            watches.swap_remove(slot);
        }
        if let Some(moved) = watches.get(slot) {
            moved.slot.set(slot);
        }
    }

    /// Ends the connection that waits for its client for longest, of some; whether there was one.
    fn displace(&self) -> bool {
        let watches = self.watches.borrow();
        let (before, after) = watches.split_at(self.hand.get().min(watches.len()));
        let some = after.iter().chain(before).take(SAMPLE);
        let waiting = some.filter_map(|watch| Some((watch.waits_since()?, watch)));
        let longest = waiting.min_by_key(|(since, _)| *since);
        self.hand.set((self.hand.get() + SAMPLE) % watches.len().max(1));
        longest.map(|(_, watch)| watch.displace()).is_some()
    }
}

/// Admits streams to a service that speaks HTTP.
pub(super) struct Door<H> {
    http: H,
    listener: Arc<Listener>,
    roster: Rc<Roster>,
}

impl<H> Door<H> {
    pub(super) fn new(http: H, listener: Arc<Listener>) -> Self {
        Self { http, listener, roster: Rc::default() }
    }

    fn admit(&self, peer: SocketAddr) -> Result<(Place, Rc<ConnectionWatch>), Refused> {
        let place = self.listener.enter(peer.ip())?;
        let is_reserve = match place.room() {
            Room::Any => false,
            room => match (self.roster.displace(), room) {
                (true, _) => false,
                (false, Room::Health) => true,
                (false, _) => return Err(Refused::Full),
            },
        };
        let watch = Rc::new(ConnectionWatch::new(Arc::clone(&self.listener), is_reserve, Instant::now()));
        self.roster.add(&watch);
        Ok((place, watch))
    }
}

impl<H> Service<TcpStream> for Door<H>
where
    H: Service<(WatchedStream, Protocol, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    type Response = ();
    type Error = ();
    type Future = Served<H::Future>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.http.poll_ready(cx).map_err(|_said| ())
    }

    fn call(&self, tcp: TcpStream) -> Self::Future {
        // A peer that is gone already has no address.
        let Ok(peer) = tcp.peer_addr() else { return Served(None) };
        match self.admit(peer) {
            Ok((place, watch)) => {
                set_up(&tcp);
                let stream = WatchedStream::new(tcp, Rc::clone(&watch));
                let http = Box::pin(self.http.call((stream, Protocol::Http1, Some(peer))));
                let roster = Rc::clone(&self.roster);
                Served(Some(Connection { http, timer: None, watch, roster, _place: place }))
            }
            Err(reason) => {
                self.listener.count_refused(reason);
                refuse(&tcp, reason);
                Served(None)
            }
        }
    }
}

fn set_up(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    let set = tcp
        .set_nodelay(true)
        // The kernel gives up a peer that is gone without a word, or that reads nothing.
        .and_then(|()| socket.set_tcp_user_timeout(Some(PEER_PATIENCE)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection is not set up in full");
    }
}

/// Says why, as far as the client listens, without waiting for anything.
fn refuse(tcp: &TcpStream, reason: Refused) {
    let answer = match reason {
        Refused::Address => unparsable::TOO_MANY,
        Refused::Full => unparsable::FULL,
    };
    let socket = SockRef::from(tcp);
    // What is not read when a socket is closed breaks the connection off, and the answer with it.
    let _whether_there_was_a_request = socket.recv(&mut [MaybeUninit::uninit(); REFUSED_BYTES]);
    let _whether_it_was_taken = socket.send(answer.as_bytes());
}

/// A connection that is served to its end, or was refused.
pub(super) struct Served<F>(Option<Connection<F>>);

struct Connection<F> {
    http: Pin<Box<F>>,
    /// The only timer; none before the first look, and none any more for a websocket.
    timer: Option<Pin<Box<Sleep>>>,
    watch: Rc<ConnectionWatch>,
    roster: Rc<Roster>,
    /// Given back after the stream is closed.
    _place: Place,
}

impl<F: Future<Output = Result<(), DispatchError>>> Future for Served<F> {
    type Output = Result<(), ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(connection) => connection.poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<F: Future<Output = Result<(), DispatchError>>> Connection<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch.register(cx.waker());
        self.look(cx);
        if self.watch.ended().is_some() && !self.watch.has_half_a_head() {
            return Poll::Ready(());
        }
        match self.http.as_mut().poll(cx) {
            Poll::Ready(result) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke");
                }
                Poll::Ready(())
            }
            Poll::Pending if self.watch.ended().is_some() => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Looks at the watch when it is time to.
    fn look(&mut self, cx: &mut Context<'_>) {
        if self.watch.is_upgraded() {
            self.timer = None;
            return;
        }
        loop {
            // A timer that was polled once wakes this task: it need not be polled again before it is due.
            if self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed()) {
                return;
            }
            let Ok(Some(next)) = self.watch.look(Instant::now()) else { return };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            timer.as_mut().reset(next);
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }
}

impl<F> Drop for Connection<F> {
    fn drop(&mut self) {
        self.roster.remove(&self.watch);
    }
}
