//! The connections to a node, which a test breaks, or keeps open and silent.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// What becomes of the connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionSwitch {
    /// How often all were broken.
    pub(super) cuts: u64,
    /// Whether nothing goes through them.
    pub(super) is_silent: bool,
}

/// Accepts connections.
pub(super) struct GuardedListener {
    pub(super) listener: TcpListener,
    pub(super) switch: watch::Receiver<ConnectionSwitch>,
}

/// A connection.
pub(super) struct GuardedSocket {
    socket: TcpStream,
    /// How often connections had been broken when it was accepted.
    cuts: u64,
    switch: watch::Receiver<ConnectionSwitch>,
    changed: SwitchChange,
}

type SwitchChange = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Stream for GuardedListener {
    type Item = io::Result<GuardedSocket>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (socket, _) = ready!(self.listener.poll_accept(context))?;
        socket.set_nodelay(true)?;
        let cuts = self.switch.borrow().cuts;
        let switch = self.switch.clone();
        let changed = wait(switch.clone());
        Poll::Ready(Some(Ok(GuardedSocket { socket, cuts, switch, changed })))
    }
}

/// Waits for the next change.
fn wait(mut switch: watch::Receiver<ConnectionSwitch>) -> SwitchChange {
    switch.mark_unchanged();
    Box::pin(async move {
        if switch.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

impl GuardedSocket {
    /// Whether anything may go through; waits while nothing does.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.changed.as_mut().poll(context).is_ready() {
            self.changed = wait(self.switch.clone());
        }
        let now = *self.switch.borrow();
        if now.cuts != self.cuts {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if now.is_silent { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncRead for GuardedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?;
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for GuardedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl Connected for GuardedSocket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }
}
