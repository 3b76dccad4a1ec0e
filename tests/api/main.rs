//! The contract, through the public interface: the real program, real HTTP, a real store.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bodies;
mod cors;
mod durability;
mod errors;
mod faults;
mod headers;
mod history;
mod history_size;
mod idempotency;
mod ids;
mod limits;
mod matrix;
mod online;
mod presence;
mod proven;
mod proxies;
mod rate_limits;
mod reference;
mod shutdown;
mod signals;
mod socket_access;
mod socket_ends;
mod socket_limits;
mod socket_messages;
mod socket_order;
mod socket_refusals;
mod tokens;
mod webhooks;
