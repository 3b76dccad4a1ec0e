//! How many files and sockets the process may open, and how many of them clients may use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Reserved for databases, the operator interface and health checks.
const OWN_FILES: usize = 256;

/// The reserve is at most one descriptor in this many.
const MAX_RESERVE_PART: usize = 4;

/// The minimum reserve where a quarter would be less, but never more than half of the limit: the service opens about
/// 70 files before anybody connects. A connection that the kernel cannot accept displaces nobody, so without a reserve
/// the service would answer nothing.
const MIN_RESERVE: usize = 192;

/// Operators get at most one reserved descriptor in this many.
const OPERATOR_PART: usize = 4;

/// The smallest default limit for one address.
const MIN_PER_ADDRESS: usize = 1_000;

/// How the descriptors of the process are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorBudget {
    /// As many as the process may open.
    pub limit: usize,
    /// As many of these as clients may use for connections.
    pub connections: usize,
}

impl DescriptorBudget {
    /// Raises the limit of open files as far as the process may, and divides them. `outgoing` is how many connections
    /// the service itself may open at the same time.
    #[must_use]
    pub fn raise_limit(outgoing: usize) -> Self {
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
        Self::divide(limit, outgoing)
    }

    fn divide(limit: usize, outgoing: usize) -> Self {
        let reserve =
            OWN_FILES.saturating_add(outgoing).min(limit / MAX_RESERVE_PART).max(MIN_RESERVE.min(limit / 2));
        Self { limit, connections: limit - reserve }
    }

    /// How many of the reserved descriptors operators may use.
    #[must_use]
    pub fn for_operators(&self) -> usize {
        (self.limit - self.connections) / OPERATOR_PART
    }

    /// The default limit for one address.
    #[must_use]
    pub fn per_address(&self) -> usize {
        (self.limit / 4).max(MIN_PER_ADDRESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_at_most_a_quarter_but_enough_for_the_service_itself() {
        for (limit, connections) in
            [(160, 80), (256, 128), (512, 320), (1_024, 768), (20_000, 19_232), (1_048_576, 1_047_808)]
        {
            assert_eq!(DescriptorBudget::divide(limit, 512), DescriptorBudget { limit, connections });
        }
    }

    #[test]
    fn operators_get_a_part_of_the_reserve() {
        assert_eq!(DescriptorBudget::divide(256, 512).for_operators(), 32);
        assert_eq!(DescriptorBudget::divide(20_000, 512).for_operators(), 192);
    }

    #[test]
    fn an_address_may_have_a_quarter_or_a_thousand() {
        assert_eq!(DescriptorBudget::divide(512, 0).per_address(), 1_000);
        assert_eq!(DescriptorBudget::divide(20_000, 0).per_address(), 5_000);
    }
}
