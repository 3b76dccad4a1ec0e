//! The time between the signal to stop and the closing of the port, in which load balancers notice that the service is
//! leaving.
//!
//! `/readyz` answers 503 `draining`, and everything else is served as before. A client that a load balancer still sends
//! meanwhile is taken: refused, it would use up one of its attempts. Nothing is closed before the time is over.

use std::time::Duration;

use actix_web::web;

use super::StopSignals;
use crate::{config::Config, http::health::DrainState};

/// As long as one of several nodes drains: load balancers that ask every one or two seconds notice it, and a restart still
/// takes less than 8 s.
const NODE_SECONDS: u32 = 5;

/// One service alone has nobody to send its clients to.
const ALONE_SECONDS: u32 = 0;

/// How long requests and deliveries in flight may take once the port is closed.
const FINISH: Duration = Duration::from_secs(3);

/// The same after a drain, in which others got the new ones: a restart should not take 8 s.
const FINISH_DRAINED: Duration = Duration::from_secs(2);

/// A drain that has not started yet.
pub(in crate::startup) struct DrainPeriod {
    length: Duration,
    state: web::Data<DrainState>,
}

impl DrainPeriod {
    /// As long as it is configured, shown by this state.
    pub(in crate::startup) fn of(config: &Config, state: &web::Data<DrainState>) -> Self {
        let seconds = config.server.drain_seconds.unwrap_or(if config.cluster.node.is_empty() {
            ALONE_SECONDS
        } else {
            NODE_SECONDS
        });
        Self { length: Duration::from_secs(seconds.into()), state: state.clone() }
    }

    /// How long it takes.
    pub(in crate::startup) fn length(&self) -> Duration {
        self.length
    }

    /// How long requests and deliveries in flight may take after it.
    pub(in crate::startup) fn finish(&self) -> Duration {
        if self.length.is_zero() { FINISH } else { FINISH_DRAINED }
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
