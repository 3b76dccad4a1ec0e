//! The sender against badly behaved receivers and refused addresses: the real client, real sockets on loopback,
//! certificates of an authority made for the test.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod addresses;
mod delivery;
mod failures;
mod names;
mod redirects;
mod signed;
mod spellings;
mod successes;
mod tls;
