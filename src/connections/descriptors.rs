//! How many files and sockets the process may have open, and how many of them are for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::RealtimeConfig;

/// Kept for the databases, the operator's interface and health checks.
const OWN: usize = 256;

/// At the most one descriptor in so many is kept back.
const MOST_KEPT: usize = 4;

/// Where a quarter is less than this, this is kept back, but at the most half: the service has some 70 files open before
/// anybody connects. A connection that cannot be accepted displaces nobody, so nothing would be answered then.
const LEAST_KEPT: usize = 192;

/// At the most one in so many of those that are kept back is for operators.
const OF_OPERATORS: usize = 4;

/// The smallest default of `server.connections_per_ip`.
const LEAST_OF_ADDRESS: usize = 1_000;

/// How the process's descriptors are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// As many as the process may have.
    pub limit: usize,
    /// Of these, as many as may be connections of clients.
    pub connections: usize,
}

impl Descriptors {
    /// Raises the limit of open files as far as the process may, and shares them out. `deliveries` are the
    /// webhook deliveries that may be under way at the same time; each takes a descriptor.
    #[must_use]
    pub fn raise(deliveries: usize) -> Self {
        let limits = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limits.maximum,
            Err(error) => {
                tracing::warn!(%error, "the limit of open files cannot be raised");
                limits.current
            }
        };
        let limit = current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Self::share(limit, deliveries)
    }

    fn share(limit: usize, deliveries: usize) -> Self {
        let kept = OWN.saturating_add(deliveries).min(limit / MOST_KEPT).max(LEAST_KEPT.min(limit / 2));
        Self { limit, connections: limit - kept }
    }

    /// As many as operators may have of those that are not for clients.
    #[must_use]
    pub fn of_operators(&self) -> usize {
        (self.limit - self.connections) / OF_OPERATORS
    }

    /// The default of `server.connections_per_ip`.
    #[must_use]
    pub fn of_address(&self) -> usize {
        (self.limit / 4).max(LEAST_OF_ADDRESS)
    }

    /// Says so when there are too few for as many sockets as are configured. 0 sockets is no limit.
    pub fn compare(&self, realtime: &RealtimeConfig) {
        let sockets = realtime.max_connections.saturating_add(realtime.held_connections);
        if realtime.max_connections > 0 && sockets > self.connections {
            tracing::warn!(
                files = self.limit,
                connections = self.connections,
                realtime.max_connections = realtime.max_connections,
                realtime.held_connections = realtime.held_connections,
                "the process may not open enough files for realtime.max_connections and realtime.held_connections: \
                 raise the hard limit (LimitNOFILE= of systemd, `ulimit -Hn`, --ulimit nofile= of a container) or \
                 lower the settings"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_at_the_most_is_kept_back_but_enough_for_the_service_itself() {
        for (limit, connections) in
            [(160, 80), (256, 128), (512, 320), (1_024, 768), (20_000, 19_232), (1_048_576, 1_047_808)]
        {
            assert_eq!(Descriptors::share(limit, 512), Descriptors { limit, connections });
        }
    }

    #[test]
    fn operators_have_a_part_of_what_is_kept_back() {
        assert_eq!(Descriptors::share(256, 512).of_operators(), 32);
        assert_eq!(Descriptors::share(20_000, 512).of_operators(), 192);
    }

    #[test]
    fn an_address_may_have_a_quarter_or_a_thousand() {
        assert_eq!(Descriptors::share(512, 0).of_address(), 1_000);
        assert_eq!(Descriptors::share(20_000, 0).of_address(), 5_000);
    }
}
