//! Socket.IO v5 on the engine: namespaces, events, acknowledgements, binary, rooms.
//!
//! An [`Application`] says what happens on connect and on each event; what it needs to know of a
//! socket is a value of its own that is dropped when the socket leaves. `examples/echo_server.rs` is
//! a whole one.
//!
//! | module | holds |
//! |---|---|
//! | [`packet`] | what goes over an engine's connection, strictly decoded |
//! | [`event`] | an event with its arguments and attachments |
//! | [`emission`] | an event for clients, encoded once for all of them |
//! | [`application`] | what an application does |
//! | [`protocol`] | a connection's namespaces and their sockets |
//! | [`rooms`] | who hears what |
//! | [`meter`] | how many events a client may send |

pub mod application;
pub mod emission;
pub mod event;
pub mod member;
pub mod meter;
pub mod packet;
pub mod protocol;
pub mod rooms;

pub use application::{Accepted, Application, ConnectError, Connecting, Outcome, Refusal, ReviewAfter, Work};
pub use emission::{Emission, OffsetWriter};
pub use event::Event;
pub use protocol::{Note, SocketId, SocketProtocol, SocketSettings, Sockets};
pub use rooms::{Cast, LocalRooms, Pass, Rooms};
