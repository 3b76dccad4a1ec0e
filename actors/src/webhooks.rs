//! Webhook delivery: customers' systems hear of every message, in order for each session, at least once.
//!
//! The log is the outbox: nothing is queued beside an append that could be lost between the two. What
//! was delivered, and what is to be tried again, is kept in `outbox.db`, which no rebuild touches.
//!
//! | module | holds |
//! |---|---|
//! | [`courier`] | what is delivered, and who carries it: the edge of this crate |
//! | [`service`] | the handle: starts delivery, and asks it for endpoints' owners |
//! | `router` | reads the log once and hands each lane what is for it |
//! | `lane` | the actor of one endpoint |
//! | `backlog` | its deliveries that are not settled: which may be tried next |
//! | `reception` | whether a refusal is of one message, or the endpoint's failure |
//! | [`schedule`], [`throttle`] | when a delivery is tried again, and how hard an endpoint is pressed |
//! | [`delivery`] | a delivery, its attempts, and how far an endpoint is |
//! | [`outbox`] | `outbox.db`, which keeps them |
//! | `moment` | a moment by the monotonic clock and by the wall clock |
//! | `desk` | what lanes share |
//! | [`places`] | places that tenants share, and how many of them one tenant has |
//! | [`counts`] | what operators see of it |

mod backlog;
pub mod counts;
pub mod courier;
pub mod delivery;
mod desk;
mod lane;
mod moment;
pub mod outbox;
pub mod places;
mod reception;
mod router;
pub mod schedule;
pub mod service;
pub mod throttle;

pub use counts::Counts;
pub use courier::{Announcement, Answer, Content, Courier, Endpoint};
pub use delivery::{Attempt, Delivery, DeliveryStatus, HoldOff, Marks, Replay};
pub use desk::LaneSettings;
pub use lane::{LaneRefusal, SkipQuery, Standing};
pub use outbox::{DeliveriesQuery, Outbox};
pub use schedule::Schedule;
pub use service::Webhooks;
pub use throttle::ThrottleSettings;
