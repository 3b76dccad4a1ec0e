//! Webhook delivery of several nodes, on a real PostgreSQL: what they record together, and who delivers when nodes die,
//! stop, or ask each other.
//!
//! | module | holds |
//! |---|---|
//! | [`given`] | a database with a log, leases and deliveries; tenants and messages |
//! | [`child_node`] | a node as a process of its own, which can be killed and stopped |
//! | [`losing_proxy`] | a way to the database on which an answer gets lost |
//! | [`opening`] | who may make the tables, and who takes another epoch over |
//! | [`recording`] | what one node records and another reads |
//! | [`delivering`] | nothing is lost and sessions stay in order, whatever becomes of nodes |
//! | [`asking`] | an owner who asks any node |

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says why and stops"
)]

mod asking;
mod child_node;
mod delivering;
mod given;
mod losing_proxy;
mod opening;
mod recording;
