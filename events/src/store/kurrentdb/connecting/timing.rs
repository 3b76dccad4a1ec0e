//! How long things may take. A node that is dead or cut off must not hold others up, so nothing waits for ever.

use std::time::Duration;

/// Connecting to one node, with everything that has to be asked before the connection is used.
pub(in crate::store::kurrentdb) const CONNECT: Duration = Duration::from_secs(3);

/// One call. The client's own deadline is 10 s, and it keeps an idle connection for 20 s before it takes it for dead.
pub(in crate::store::kurrentdb) const CALL: Duration = Duration::from_millis(2_500);

/// An append or a removal, over all tries.
pub(in crate::store::kurrentdb) const APPEND: Duration = Duration::from_secs(10);

/// A read, over all tries.
pub(in crate::store::kurrentdb) const READ: Duration = Duration::from_secs(10);

/// Between two tries of what fails.
pub(in crate::store::kurrentdb) const RETRY: Duration = Duration::from_millis(200);

/// How long an append waits until this node has followed the log up to its events.
pub(in crate::store::kurrentdb) const FOLLOW: Duration = Duration::from_secs(2);

/// How often the log is read beside the subscription. What a read finds twice, and the subscription never brings, ends the
/// subscription: it is silent for 6 s at the most.
pub(in crate::store::kurrentdb) const POLL: Duration = Duration::from_secs(2);

/// Opening, which reads the log: a limit for what hangs, not for what is long.
pub(in crate::store::kurrentdb) const OPEN: Duration = Duration::from_hours(1);

/// How often it is looked whether a scavenge has ended.
pub(in crate::store::kurrentdb) const SCAVENGE_POLL: Duration = Duration::from_millis(500);

/// What one scavenge may take.
pub(in crate::store::kurrentdb) const SCAVENGE: Duration = Duration::from_hours(6);
