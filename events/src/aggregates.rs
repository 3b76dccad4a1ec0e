//! The aggregates: each has its events, its state, its commands and errors, and decides without clock, chance or I/O.

mod managed_by;
pub mod node;
pub mod presence;
pub mod session;
pub mod tenant;
pub mod webhook;
