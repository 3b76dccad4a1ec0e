//! Webhook delivery: every message reaches the endpoints of its tenant at least once, and in order within a session.
//!
//! The log is the outbox: there is no second queue that a crash could separate from an append. `outbox.db` stores how
//! far each endpoint is and which deliveries are to be tried again; no rebuild touches it.
//!
//! | module | holds |
//! |---|---|
//! | [`handle`] | starts delivery, and gives it the requests of endpoints' owners |
//! | `router` | reads the log once and offers each lane its messages |
//! | `lane` | the actor of one endpoint |
//! | [`pacing`] | when a delivery is tried again, and how fast an endpoint is called |
//! | [`delivery`] | a delivery, its attempts, and how far an endpoint is |
//! | [`delivery_store`] | `outbox.db` |
//! | [`sender`] | what is sent to endpoints, and the trait that sends it |
//! | `attempt_runner` | makes single attempts for all lanes |
//! | `message_reader` | reads messages from the log for lanes |
//! | [`services`] | what lanes share |
//! | [`fair_semaphore`] | permits that tenants share fairly |
//! | [`delivery_counters`] | what operators see of deliveries |

mod attempt_runner;
pub mod delivery;
pub mod delivery_counters;
pub mod delivery_store;
pub mod fair_semaphore;
pub mod handle;
mod lane;
mod message_reader;
pub mod pacing;
mod router;
pub mod sender;
pub mod services;

pub use delivery::{Delivery, DeliveryAttempt, DeliveryStatus, HoldOff, LaneProgress, ReplayProgress};
pub use delivery_counters::DeliveryCounters;
pub use delivery_store::{
    DELIVERY_DATABASE, DeliveriesQuery, DeliveryStore,
    relocation::{RelocatedDeliveries, StoredDeliveries},
};
pub use handle::WebhooksHandle;
pub use lane::{LaneError, LaneStatus, SkipQuery};
pub use pacing::{endpoint_throttle::ThrottleSettings, retry_schedule::RetrySchedule};
pub use router::LANE_LEASES;
pub use sender::{DeliveryOutcome, LoggedMessage, WebhookEndpoint, WebhookPayload, WebhookSender};
pub use services::{LaneSettings, WebhookServices};
