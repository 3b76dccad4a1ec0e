//! What other parts of an application tell a connection's sockets.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::oneshot;

use super::OutgoingEvent;

/// Tells the sockets of a process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// What others tell a connection.
pub enum SocketNotice {
    /// Events for one of its sockets.
    Emit {
        /// The socket.
        to: SocketId,
        /// In order.
        events: Vec<Arc<OutgoingEvent>>,
        /// Whether the connection closes after them.
        is_last: bool,
    },
    /// An event that a socket has to acknowledge. The reply is dropped if the socket is gone or owes too many.
    EmitWithAck {
        /// The socket.
        to: SocketId,
        /// The event.
        event: Arc<OutgoingEvent>,
        /// Where the acknowledgement goes.
        reply: oneshot::Sender<ClientAck>,
    },
    /// The rights of clients have changed.
    Review,
}

/// A client's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAck {
    /// A JSON array.
    pub args: ByteString,
    /// Binary for the placeholders of the array.
    pub attachments: Vec<Bytes>,
}
