//! Engine.IO v4: connections that survive proxies.
//!
//! A client opens a connection over a websocket, or over HTTP long-polling that it upgrades to one.
//! Every connection is an actor ([`connection`]); what is spoken over it is a [`Protocol`]. A transport
//! is a thin pump that the connection gives one batch at a time, so a client that does not read costs
//! its connection's budget of bytes and nothing else.
//!
//! | module | holds |
//! |---|---|
//! | [`packet`], [`payload`] | what goes over a transport, strictly decoded |
//! | [`guard`] | looks at websocket frames before they are buffered |
//! | [`connection`] | the actor: transports, heartbeat, upgrade, outbox |
//! | `websocket`, [`polling`] | the two transports |
//! | [`sessions`] | which connections there are, and how many there may be |
//! | [`route`] | the HTTP side of both |
//! | `query` | what a request asks for |
//! | [`refused`] | why a request is refused |
//! | [`upgrade`] | what a request for a websocket has to be |
//! | [`handshake`] | what a client said when it connected |
//! | [`metrics`] | what operators count |

pub mod connection;
pub mod guard;
pub mod handshake;
pub mod heartbeat;
pub mod link;
pub mod metrics;
pub mod outbox;
pub mod packet;
pub mod payload;
pub mod polling;
pub mod protocol;
mod query;
pub mod refused;
pub mod route;
pub mod sessions;
pub mod settings;
pub mod upgrade;
mod websocket;

pub use connection::Connection;
pub use handshake::Handshake;
pub use link::{Link, Timer};
pub use metrics::Metrics;
pub use packet::{Data, Outgoing};
pub use protocol::{CloseReason, Protocol};
pub use route::Engine;
pub use settings::Settings;
