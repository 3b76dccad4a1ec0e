//! The messages of KurrentDB's protocol and the two ends of its services, made from the `.proto` files of the crate
//! `kurrentdb`. What it makes of them itself is private to it.
//!
//! | feature | brings |
//! |---|---|
//! | `client` | clients of the services |
//! | `server` | traits of the services, for a server that tests start |
//!
//! The code is generated, so this crate has none of the workspace's lints.
#![cfg(feature = "stubs")]
#![expect(clippy::large_enum_variant, reason = "the protocol has it so")]

// Modules as the packages of the protocol are nested.
include!(concat!(env!("OUT_DIR"), "/protocol.rs"));

pub use event_store::client::*;
