//! What the process hears from whoever runs it, and tells them: signals, the service manager, and the time before a stop.

mod drain_period;
mod service_manager;
mod signals;

pub(super) use self::{
    drain_period::DrainPeriod,
    service_manager::ServiceManager,
    signals::{StopSignals, ignore_others},
};
