//! Engine.IO v4 and Socket.IO v5 for actix-web.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | Engine.IO: connections over websockets and HTTP long-polling, heartbeat, upgrade |
//! | [`socket`] | Socket.IO: namespaces, events, acknowledgements, binary, rooms |
//! | [`random`] | where random ids come from |
//!
//! [`engine`] works without [`socket`]; neither knows what an application sends. Both bound what a client can cost:
//! the bytes that wait for it, the bytes that it may send, the connections of an address, the events of a second.
//!
//! # Example
//!
#![doc = include_str!("../README.md")]

pub mod engine;
pub mod random;
pub mod socket;
