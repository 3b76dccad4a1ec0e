//! Webhooks through the real program: receivers that fail at random, kills, and what the owner is shown.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod black_hole;
mod chaos;
mod crash;
mod endpoint;
mod ground;
mod mailbox;
#[path = "../courier/receiver.rs"]
#[expect(dead_code, reason = "the tests of the courier need more of it")]
mod receiver;
mod temper;
mod zoo;
