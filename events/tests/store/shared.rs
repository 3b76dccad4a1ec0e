//! Several nodes on one PostgreSQL, what they survive of it, and a log that is filled with the events of another.

mod encryption;
mod erased_bytes;
mod failover;
mod faults;
mod nodes;
mod refusals;
mod stalled_node;
mod transfer;
