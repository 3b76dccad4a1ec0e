//! The codec of both protocols, from outside: what is written is read as it was meant, whatever comes
//! is judged without a panic, another implementation agrees but for what is listed, and the corpus that
//! fuzzing left behind is replayed.
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
