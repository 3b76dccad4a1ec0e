//! The time between the signal to stop and the closing of the port, in which load balancers notice that the service is
//! leaving.
//!
//! `/readyz` answers 503 `draining`, and everything else is served as before. A client that a load balancer still sends
//! meanwhile is taken: refused, it would use up one of its attempts. Nothing is closed before the time is over.

use std::time::Duration;

use actix_web::web;

use super::StopSignals;
use crate::{config::ServerConfig, http::health::DrainState};

/// A drain that has not started yet.
pub(in crate::startup) struct DrainPeriod {
    length: Duration,
    state: web::Data<DrainState>,
}

impl DrainPeriod {
    /// As long as it is configured, shown by this state.
    pub(in crate::startup) fn of(server: &ServerConfig, state: &web::Data<DrainState>) -> Self {
        let length = Duration::from_secs(server.drain_seconds.unwrap_or(0).into());
        Self { length, state: state.clone() }
    }

    /// How long it takes.
    pub(in crate::startup) fn length(&self) -> Duration {
        self.length
    }

    /// Waits until the time is over. Another signal to stop ends it early.
    pub(in crate::startup) async fn run(&self, stop: &mut StopSignals) {
        self.state.start();
        if self.length.is_zero() {
            return;
        }
        tracing::info!(seconds = self.length.as_secs(), "draining: not ready any more, and still serving");
        tokio::select! {
            () = tokio::time::sleep(self.length) => {}
            () = stop.received() => {}
        }
    }
}
