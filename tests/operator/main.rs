//! What operators use: the command line against the real service, its interface, its metrics.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod access_file;
mod deploy;
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
