//! How fast and when an endpoint is called: the schedule of retries, the limits of one endpoint, and time as
//! two clocks show it. Pure: the current time is an argument.

pub(super) mod clock_reading;
pub mod endpoint_throttle;
pub mod retry_schedule;
