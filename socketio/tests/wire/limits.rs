//! How much a client may send, and how many clients there may be.

mod held_connections;
mod sizes;
