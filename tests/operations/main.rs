//! What operators do with a store, through the real program: its exit codes, its output, and the service that
//! is started on what it left.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod absent;
mod backups;
mod bench;
mod beside;
mod damage;
mod drill;
mod erasing;
mod erasing_beside_writers;
mod fixture;
mod looking;
mod restarts;
mod starting;
mod store_fixtures;
mod transfer;
mod truncated;
mod unreadable;
mod upgrade;
mod verifying;
mod write_ahead;
