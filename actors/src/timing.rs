//! Time for background tasks: how often they run, and which dates are old.

mod age_clock;
mod periodic_task;

pub(crate) use age_clock::AgeClock;
pub use periodic_task::PeriodicTask;
