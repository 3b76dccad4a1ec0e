//! A TCP stream that reports its traffic to its [`ConnectionWatch`].

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};

use super::{connection_limits::EndReason, connection_watch::ConnectionWatch};

/// A client's stream.
pub struct WatchedStream {
    tcp: TcpStream,
    watch: Rc<ConnectionWatch>,
    /// What replaces an answer of the parser and is not written yet.
    replacement: Bytes,
}

impl WatchedStream {
    pub(super) fn new(tcp: TcpStream, watch: Rc<ConnectionWatch>) -> Self {
        Self { tcp, watch, replacement: Bytes::new() }
    }

    /// The watch that follows the connection.
    #[must_use]
    pub fn watch(&self) -> Rc<ConnectionWatch> {
        Rc::clone(&self.watch)
    }

    /// The stream itself, which nobody watches any more. The connection ends when this does.
    pub(super) fn take_over(self, ended: oneshot::Receiver<()>) -> TcpStream {
        self.watch.taken_over(ended);
        self.tcp
    }

    /// Writes the replacement before anything else.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(cx, &self.replacement)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => self.replacement.advance(written),
                Poll::Pending => {
                    self.watch.write_blocked();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells a client whose request never arrived why the connection ends.
    fn send_head_timeout(&mut self) {
        if self.watch.end_reason() == Some(EndReason::SlowHead) && self.watch.has_partial_head() {
            // The client may read it or not: the connection is over either way.
            let _best_effort =
                self.tcp.try_write(self.watch.error_bodies().head_timeout_response().as_bytes());
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.end_reason().is_some() {
            self.send_head_timeout();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buffer))?;
        if let Some(read) = buffer.filled().get(before..).filter(|read| !read.is_empty()) {
            self.watch.received(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(cx))?;
        if !self.watch.is_upgraded()
            && let Some(replacement) = self.watch.error_bodies().replacement(bytes)
        {
            self.watch.count(EndReason::Unparsable);
            self.replacement = replacement;
            // From here on this stream writes it.
            return Poll::Ready(Ok(bytes.len()));
        }
        match Pin::new(&mut self.tcp).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => {
                self.watch.wrote(written, written == bytes.len());
                Poll::Ready(Ok(written))
            }
            Poll::Pending => {
                self.watch.write_blocked();
                Poll::Pending
            }
            failed => failed,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
