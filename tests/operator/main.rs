//! What operators use: the command line against the real service, its interface, its metrics.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../api/app.rs"]
#[expect(dead_code, reason = "the contract's tests use more of it")]
mod app;
#[path = "../api/socket.rs"]
#[expect(dead_code, reason = "the contract's tests use more of it")]
mod socket;

mod access;
mod deploy;
mod door;
mod endpoints;
mod keys;
mod lines;
mod metrics;
mod rebuild;
mod refused;
#[cfg(feature = "otel")]
mod spans;
mod standings;
mod tenants;
mod traces;
mod webhooks;
