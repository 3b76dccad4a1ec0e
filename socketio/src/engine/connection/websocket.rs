//! The websocket transport: a bare stream, taken over from HTTP once its upgrade is answered.
//!
//! The connection's actor reads when the stream is readable, on its stack, and one message at a time: it reads no more
//! while the protocol is busy, so the client cannot send more than is handled. An idle websocket has no buffer.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web_actors::ws::{self, CloseCode};
use amoiq_connections::{ConnectionLease, takeover::discard};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{CloseReason, ConnectionPermit, OutgoingPacket};
use crate::engine::{
    frame_reader::{FrameReader, FrameViolation, WebSocketInput},
    send_queue::SendQueue,
};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// How long a client may take to receive what is sent before the end.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the client may then take to close its side. If the server closed at once, the client might lose the last
/// frames.
const LAST_READ_TIMEOUT: Duration = Duration::from_secs(1);

/// A client's websocket.
pub(in crate::engine) struct WebSocketTransport {
    pub(super) tcp: TcpStream,
    reader: FrameReader,
    /// Whether the kernel has no room for what waits.
    pub(super) is_blocked: bool,
    /// Whether the client's close frame came.
    is_closed_by_client: bool,
    /// Counts the client's transport, until after the stream is closed.
    _permit: ConnectionPermit,
    _lease: ConnectionLease,
}

/// A websocket on its way to the worker of its connection.
pub(in crate::engine) struct MovingWebSocket {
    /// Not registered with any worker.
    pub(in crate::engine) tcp: std::net::TcpStream,
    pub(in crate::engine) reader: FrameReader,
    pub(in crate::engine) permit: ConnectionPermit,
    pub(in crate::engine) lease: ConnectionLease,
}

/// Why nothing more comes from a websocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WebSocketEnd {
    Lost,
    Violation(FrameViolation),
}

impl WebSocketTransport {
    pub(in crate::engine) fn new(
        tcp: TcpStream,
        reader: FrameReader,
        permit: ConnectionPermit,
        lease: ConnectionLease,
    ) -> Self {
        Self { tcp, reader, is_blocked: false, is_closed_by_client: false, _permit: permit, _lease: lease }
    }

    /// On the current worker from now on.
    pub(super) fn arrived(
        MovingWebSocket { tcp, reader, permit, lease }: MovingWebSocket,
    ) -> io::Result<Self> {
        Ok(Self::new(TcpStream::from_std(tcp)?, reader, permit, lease))
    }

    /// The next message or control frame.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<WebSocketInput, WebSocketEnd>> {
        loop {
            match self.reader.next_input() {
                Ok(Some(input)) => {
                    self.is_closed_by_client |= input == WebSocketInput::Close;
                    return Poll::Ready(Ok(input));
                }
                Ok(None) => {}
                Err(violation) => return Poll::Ready(Err(WebSocketEnd::Violation(violation))),
            }
            let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
            let mut chunk = ReadBuf::uninit(&mut bytes);
            match ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut chunk)) {
                Ok(()) if !chunk.filled().is_empty() => self.reader.add(chunk.filled()),
                Ok(()) | Err(_) => return Poll::Ready(Err(WebSocketEnd::Lost)),
            }
        }
    }

    /// Waits until the kernel has room again. Returns whether it has.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> bool {
        // A broken stream is writable: the write finds out.
        let is_writable = self.tcp.poll_write_ready(cx).is_ready();
        self.is_blocked = !is_writable;
        is_writable
    }

    /// Writes a packet past the queue, to a client that was sent hardly anything before. Returns whether the kernel took all
    /// of it: otherwise the client is lost, or reads nothing.
    pub(super) fn write_first(&self, packet: &OutgoingPacket) -> bool {
        let frame = packet.frame();
        self.tcp.try_write(frame).is_ok_and(|written| written == frame.len())
    }

    /// Ends the websocket: writes what is left in the queue and a close frame, and waits for the client to close its side.
    /// A worker that stops (`is_alive` is false) waits for nothing.
    pub(in crate::engine) fn end(self, mut queue: SendQueue, frame: Option<ws::CloseReason>, is_alive: bool) {
        let frame = if self.is_closed_by_client { Some(CloseCode::Normal.into()) } else { frame };
        queue.push_control(OutgoingPacket::websocket_close(frame));
        if queue.write_to(&self.tcp).is_ok() && is_alive {
            actix::spawn(self.finish(queue));
        }
    }

    async fn finish(mut self, mut queue: SendQueue) {
        let written = async {
            while !queue.write_to(&self.tcp)? {
                self.tcp.writable().await?;
            }
            self.tcp.shutdown().await
        };
        if matches!(timeout(LAST_WRITE_TIMEOUT, written).await, Ok(Ok(()))) {
            let _in_time = timeout(LAST_READ_TIMEOUT, discard(&mut self.tcp)).await;
        }
    }
}

/// The close frame of a reason; none where nothing is wrong. A text has at most 123 bytes (RFC 6455 §5.5.1).
pub(super) fn close_frame(reason: CloseReason, text: &str) -> Option<ws::CloseReason> {
    code_of(reason).map(|code| ws::CloseReason { code, description: Some(text.to_owned()) })
}

/// The close code of RFC 6455 that fits best; none where nothing is wrong.
fn code_of(reason: CloseReason) -> Option<CloseCode> {
    match reason {
        CloseReason::TooLarge => Some(CloseCode::Size),
        CloseReason::TooSlow | CloseReason::Overloaded => Some(CloseCode::Again),
        CloseReason::ShuttingDown => Some(CloseCode::Away),
        CloseReason::Malformed => Some(CloseCode::Protocol),
        CloseReason::ConnectTimeout | CloseReason::PingTimeout | CloseReason::TooOften => {
            Some(CloseCode::Policy)
        }
        CloseReason::ClientLeft | CloseReason::TransportLost | CloseReason::Refused => None,
    }
}
