//! Socket.IO v5 on the engine: namespaces, events, acknowledgements, binary, rooms.
//!
//! An [`Application`] decides who may connect and handles each event. What it knows of a socket is a value of its own,
//! which is dropped when the socket leaves. `examples/echo_server.rs` is a complete application.
//!
//! | module | holds |
//! |---|---|
//! | `application` | what an application implements |
//! | `protocol` | the namespaces of a connection and their sockets |
//! | `namespace_socket` | one socket: its waiting events, its acknowledgements, its event rate, and what others tell it |
//! | `socket_outlet` | its sending side, which rooms share |
//! | `packet` | what goes over a connection, strictly decoded; events of clients; joins packets and their attachments |
//! | `outgoing_event` | an event for clients, encoded once for all of them |
//! | `rooms` | which sockets get which events |

mod application;
mod namespace_socket;
mod outgoing_event;
mod packet;
mod protocol;
mod rooms;
mod socket_outlet;

pub use application::{
    AcceptedSocket, Application, ConnectError, ConnectRefusal, ConnectRequest, EventOutcome, LocalFuture,
    ReviewInterval,
};
pub use namespace_socket::{ClientAck, SocketId, SocketNotice};
pub use outgoing_event::{OffsetWriter, OutgoingEvent};
pub use packet::{
    ClientEvent, DEFAULT_NAMESPACE, DecodedPacket, MAX_ATTACHMENTS, MAX_CONNECT_BYTES, MalformedSocketPacket,
    PacketBody, SocketPacket, encode_packet,
};
pub use protocol::{NamespaceServer, SocketProtocol, SocketSettings};
pub use rooms::{RoomActor, RoomBroadcast, RoomIdentity, RoomName, RoomRegistry, WorkerRooms};
pub use socket_outlet::SocketOutlet;
