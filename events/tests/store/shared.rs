//! Several nodes on one PostgreSQL, and what they survive of it.

mod encryption;
mod erased_bytes;
mod failover;
mod faults;
mod nodes;
mod refusals;
mod stalled_node;
