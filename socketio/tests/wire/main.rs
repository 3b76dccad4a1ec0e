//! Engine.IO v4 and Socket.IO v5 at the wire: bytes over TCP against the echo server, which is a
//! process of its own.
//!
//! Every test is named by the statement of the protocol that it holds. There is no library of the
//! protocol in here, nor one of HTTP or websockets: a test says which bytes go out, right or wrong.
//! `cargo test` builds the echo server; to run these tests alone, run
//! `cargo build -p amoiq-socketio --example echo_server` first. What the chat makes of the protocol is not in
//! here. What the echo server has no use for is held by another application, in this process.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod application;
mod attachments;
mod client;
mod endings;
mod events;
mod fragments;
mod frames;
mod framing;
mod heartbeat;
mod held;
mod limits;
mod namespaces;
mod opening;
mod polling;
mod reasons;
mod refusals;
mod server;
mod session;
mod upgrade;
