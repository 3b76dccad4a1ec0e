//! How long anything may take. The database ends nothing by itself when a node is stopped or cut off, and a client waits
//! for ever for a server that is stopped: both have limits here.

use std::time::Duration;

/// From the start of a connection to its first answer.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);

/// One call that appends or removes.
pub(crate) const WRITE_CALL: Duration = Duration::from_secs(5);

/// An append from its queueing to its answer, over all tries.
pub(crate) const APPEND: Duration = Duration::from_secs(10);

/// A read from its queueing to its answer, over both tries.
pub(crate) const READ: Duration = Duration::from_secs(10);

/// What the server gives one statement. Shorter than the calls, so that usually the server says so itself.
pub(crate) const STATEMENT: Duration = Duration::from_secs(4);

/// What the server lets a call wait for a lock: another node's append holds the one of the log.
pub(crate) const LOCK: Duration = Duration::from_secs(2);

/// After what time without an acknowledgement the other side is taken for dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// How often an idle connection is looked at.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Reading what other nodes appended. Appends of this node are told after it.
pub(crate) const FOLLOW: Duration = Duration::from_secs(2);

/// How often it is looked for events of other nodes, in case that a wake-up was lost.
pub(crate) const POLL: Duration = Duration::from_millis(500);

/// Between two writes of the file that says what this node knows.
pub(crate) const KEEP: Duration = Duration::from_millis(500);

/// How often a database that takes no appends is asked whether it does again.
pub(crate) const PROBE: Duration = Duration::from_secs(1);

/// Between two tries of what fails.
pub(crate) const RETRY: Duration = Duration::from_millis(200);

/// Between two wake-ups of other nodes.
pub(crate) const WAKE_UP: Duration = Duration::from_millis(20);

/// What removing dead rows of the whole log may take.
pub(crate) const VACUUM: Duration = Duration::from_hours(1);
