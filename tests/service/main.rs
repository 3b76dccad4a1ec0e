//! The whole service through its public interfaces: the real program, real HTTP, real sockets, a real store.
//!
//! | module | holds |
//! |---|---|
//! | [`messages`] | sending and reading messages over HTTP |
//! | [`access`] | who may do what: keys, tokens, origins, proxies, limits |
//! | [`responses`] | the form of every answer, and the examples of the reference |
//! | [`sockets`] | the chat over Socket.IO |
//! | [`presence`] | who is online |
//! | [`webhook_api`], [`webhook_delivery`] | endpoints and what they are sent |
//! | [`operator`], [`operations`] | the operator interface, the command line, backups, damage, upgrades |
//! | [`lifecycle`], [`durability`] | stops, kills, power cuts, disks and databases that fail |
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod durability;
mod lifecycle;
mod messages;
mod operations;
mod operator;
mod presence;
mod responses;
mod sockets;
mod webhook_api;
mod webhook_delivery;
