//! Which server has the log: its system and its timeline. A promotion begins a timeline, so a server of the same system on
//! an older one was replaced: what it takes is not in the log.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::CallFailure;

/// One server as it was when a session to it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerIdentity {
    /// Made with the first of a line of servers; its standbys have the same.
    system: i64,
    timeline: i32,
}

impl ServerIdentity {
    /// Asks a server that takes writes for one row of this. The newest segment's name starts with the timeline at once after
    /// a promotion; the checkpoint tells the old one for minutes.
    pub(crate) const QUERY: &str = "SELECT c.system_identifier,
        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer FROM pg_control_system() c";

    pub(crate) fn decode(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { system: row.try_get(0)?, timeline: row.try_get(1)? })
    }
}

/// The newest server that this node has seen.
#[derive(Default)]
pub(crate) struct SeenServer(Mutex<Option<ServerIdentity>>);

impl SeenServer {
    /// Takes over what an earlier run has seen, unless that is older.
    pub(crate) fn remember(&self, earlier: ServerIdentity) {
        let mut newest = self.0.lock();
        let is_newer =
            |seen: ServerIdentity| seen.system != earlier.system || seen.timeline >= earlier.timeline;
        if !newest.is_some_and(is_newer) {
            *newest = Some(earlier);
        }
    }

    pub(crate) fn identity(&self) -> Option<ServerIdentity> {
        *self.0.lock()
    }

    /// Notes a server, or refuses one that was replaced.
    pub(crate) fn see(&self, found: ServerIdentity) -> Result<(), CallFailure> {
        let mut newest = self.0.lock();
        match *newest {
            Some(seen) if seen.system == found.system && seen.timeline > found.timeline => {
                Err(CallFailure::Broken(format!(
                    "the server is on timeline {}, and this node has seen {}: another was promoted in its place; if it \
                     was restored on purpose, promote it, which begins a timeline",
                    found.timeline, seen.timeline
                )))
            }
            Some(seen) if seen == found => Ok(()),
            seen => {
                if seen.is_some() {
                    tracing::warn!(timeline = found.timeline, "another server has the log");
                }
                *newest = Some(found);
                Ok(())
            }
        }
    }

    /// Whether a session to this server still leads to the newest.
    pub(crate) fn is_newest(&self, server: Option<ServerIdentity>) -> bool {
        server.is_none() || *self.0.lock() == server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_replaced_is_refused_and_its_sessions_are_over() {
        let server = |system, timeline| ServerIdentity { system, timeline };
        let seen = SeenServer::default();
        seen.see(server(1, 1)).unwrap();
        seen.see(server(1, 2)).unwrap();
        assert!(!seen.is_newest(Some(server(1, 1))) && seen.is_newest(Some(server(1, 2))));
        let refused = seen.see(server(1, 1)).unwrap_err().to_string();
        assert!(refused.contains("timeline 1") && refused.contains("seen 2"), "{refused}");
        let refusing = SeenServer::default();
        refusing.see(server(1, 1)).unwrap();
        refusing.remember(server(1, 2));
        refusing.remember(server(1, 1));
        assert!(refusing.see(server(1, 1)).is_err());
        seen.see(server(2, 1)).unwrap();
        assert_eq!(seen.identity(), Some(server(2, 1)));
        assert!(seen.is_newest(None), "a server that does not tell");
    }
}
