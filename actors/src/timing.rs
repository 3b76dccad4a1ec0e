//! Time for background tasks: how often they run and on which node, and which dates are old.

mod age_clock;
mod node_duty;
mod periodic_task;

pub(crate) use age_clock::AgeClock;
pub use node_duty::NodeDuty;
pub use periodic_task::PeriodicTask;
