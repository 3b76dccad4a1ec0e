//! Engine.IO v4 and Socket.IO v5 at the wire: bytes over TCP to the echo server, a process of its own.
//!
//! Each test is named after the statement of the protocol that it checks. No library of the protocol, of HTTP or of
//! websockets is used: a test says which bytes it sends, right or wrong. `cargo test` builds the echo server; to run
//! these tests alone, run `cargo build -p amoiq-socketio --example echo_server` first. What the echo server does not
//! do is checked with another application in this process.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod closing;
mod frames;
mod harness;
mod limits;
mod socket;
mod transports;
