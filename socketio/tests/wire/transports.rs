//! Opening a session, both transports, and the upgrade from one to the other.

mod heartbeat;
mod opening;
mod polling;
mod refusals;
mod upgrade;
