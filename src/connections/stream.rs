//! A TCP stream that tells its [`ConnectionWatch`] what passes through it.

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
};

use super::{ledger::Ended, unparsable, watch::ConnectionWatch};

/// A client's stream.
pub struct WatchedStream {
    tcp: TcpStream,
    watch: Rc<ConnectionWatch>,
    /// What is written in place of an answer of the parser's, as far as it is not written yet.
    instead: Bytes,
}

impl WatchedStream {
    pub(super) fn new(tcp: TcpStream, watch: Rc<ConnectionWatch>) -> Self {
        Self { tcp, watch, instead: Bytes::new() }
    }

    /// What follows the connection.
    #[must_use]
    pub fn watch(&self) -> Rc<ConnectionWatch> {
        Rc::clone(&self.watch)
    }

    /// Writes what has to go before anything else.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(cx, &self.instead)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => self.instead.advance(written),
                Poll::Pending => {
                    self.watch.write_waits();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells a client whose request never came why the connection ends.
    fn say_late(&mut self) {
        if self.watch.ended() == Some(Ended::SlowHead) && self.watch.has_half_a_head() {
            // It may read or not: the connection is over either way.
            let _best_effort = self.tcp.try_write(unparsable::LATE.as_bytes());
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.ended().is_some() {
            self.say_late();
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
        ready!(self.poll_instead(cx))?;
        if !self.watch.is_upgraded()
            && let Some(instead) = unparsable::answer_instead_of(bytes)
        {
            self.watch.count(Ended::Unparsable);
            self.instead = instead;
            // It is this stream's to write now.
            return Poll::Ready(Ok(bytes.len()));
        }
        match Pin::new(&mut self.tcp).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => {
                self.watch.wrote(written, written == bytes.len());
                Poll::Ready(Ok(written))
            }
            Poll::Pending => {
                self.watch.write_waits();
                Poll::Pending
            }
            failed => failed,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
