//! Webhook delivery: customers' systems hear of every message, in order for each session, at least once.
//!
//! The log is the outbox: nothing is queued beside an append that could be lost between the two. What
//! was delivered, and what is to be tried again, is kept in `outbox.db`, which no rebuild touches.
//!
//! | module | holds |
//! |---|---|
//! | [`courier`] | what is delivered, and who carries it: the edge of this crate |
//! | [`delivery`] | a delivery, its attempts, and how far an endpoint is |
//! | [`outbox`] | `outbox.db`: how far each endpoint is, its deliveries and their attempts |

pub mod courier;
pub mod delivery;
pub mod outbox;

pub use courier::{Announcement, Answer, Content, Courier, Endpoint};
