//! The codec of both protocols from outside: it reads packets as they were meant, panics at nothing, agrees with another
//! implementation except for listed deviations, and passes the corpus that fuzzing left.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod anatomy;
#[path = "../../fuzz/src/lib.rs"]
mod checks;
mod client;
mod corpus;
mod deviations;
mod differential;
mod frames;
mod meaning;
mod messages;
mod oxide;
mod payloads;
