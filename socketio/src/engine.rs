//! Engine.IO v4: connections that survive proxies.
//!
//! A client opens a connection over a websocket, or over HTTP long-polling that it upgrades to one. Every connection is
//! an actor, and what it says is up to a [`Protocol`]. A websocket is taken over from HTTP ([`amoiq_connections::takeover`])
//! and belongs to that actor: it is read when the client has sent something and written from the queue of the connection,
//! so a client that does not read costs its connection's budget of bytes and nothing else. Without the server of
//! `amoiq_connections` there are no websockets.
//!
//! | module | holds |
//! |---|---|
//! | `routes` | the HTTP side: [`Engine`], what a request asks for, why it is refused |
//! | `connection` | the actor: its protocol, its transports, heartbeat and upgrade |
//! | `engine_state` | what all connections of an engine share |
//! | `connection_limits` | how many connections there may be |
//! | `send_queue` | what waits for a client |
//! | `frame_reader` | reads websocket frames, whose headers are checked before anything is buffered |
//! | `packet` | packets and polling payloads, strictly decoded |
//! | `handshake` | what a client said when it connected |
//! | `heartbeat` | when to ping, and when a client is gone |
//! | `metrics` | counters for operators |
//! | `settings` | the options |
//! | `close_reason` | why a connection ended |

mod close_reason;
mod connection;
mod connection_limits;
mod engine_state;
mod frame_reader;
mod handshake;
mod heartbeat;
mod metrics;
mod packet;
mod routes;
mod send_queue;
mod settings;

pub use close_reason::CloseReason;
pub use connection::{
    ConnectionLink, ConnectionNotice, ConnectionOutlet, EngineConnection, LinkTimer, Protocol,
};
pub use engine_state::HoldPolicy;
pub use frame_reader::{FrameReader, FrameScan, FrameViolation, WebSocketInput};
pub use handshake::ClientHandshake;
pub use metrics::{EngineCounts, EngineMetrics};
pub use packet::{
    EngineMessage, EnginePacket, MalformedEnginePacket, OutgoingPacket, decode_payload, encode_payload,
};
pub use routes::{ClientAddress, Engine, ProtocolFactory};
pub use settings::EngineSettings;
