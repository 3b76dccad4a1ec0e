//! Realtime: Socket.IO on actix, in three parts with one job each.
//!
//! | part | job |
//! |---|---|
//! | [`engine`] | Engine.IO v4: connections over websocket and HTTP long-polling, heartbeat, upgrade |
//! | [`socket`] | Socket.IO v5: namespaces, events, acknowledgements, rooms |
//! | [`chat`] | this product's events |
//!
//! The first two know nothing of chat: `examples/echo_server.rs` builds another server of them.

pub mod chat;
pub mod engine;
pub mod socket;
