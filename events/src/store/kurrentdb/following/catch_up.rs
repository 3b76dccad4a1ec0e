//! Reads on in the log from the newest record that is known. Several may do so at once: what one has taken over, the others
//! pass over.

use std::sync::Arc;

use tokio::time::timeout;

use super::followed_log::FollowedLog;
use crate::store::kurrentdb::{
    connecting::{
        known_history::KnownHistory, node_call_error::NodeCallError, node_connection::NodeConnection, timing,
    },
    database_condition::DatabaseCondition,
    records::log_record::WireRecord,
};

/// How many records are taken over at once.
pub(in crate::store::kurrentdb) const BATCH: usize = 1_000;

/// Takes records over.
#[derive(Clone)]
pub(in crate::store::kurrentdb) struct LogCatchUp {
    pub(in crate::store::kurrentdb) log: Arc<FollowedLog>,
    pub(in crate::store::kurrentdb) known: Arc<KnownHistory>,
    pub(in crate::store::kurrentdb) condition: Arc<DatabaseCondition>,
}

impl LogCatchUp {
    /// Reads to the end of the log. Returns how much was new.
    pub(in crate::store::kurrentdb) async fn run(
        &self,
        connection: &NodeConnection,
    ) -> Result<usize, NodeCallError> {
        let mut count = 0;
        loop {
            let (position, id) = self.known.newest();
            let reading = timeout(timing::CALL, connection.page(position, BATCH)).await;
            let page = match reading.unwrap_or_else(|_late| Err(NodeCallError::silent())) {
                // Here a record began, and begins no more.
                Err(NodeCallError::Refused(reason)) => return Err(NodeCallError::OtherHistory(reason)),
                page => page?,
            };
            if page.first().is_none_or(|first| (first.position, first.id) != (position, id)) {
                let reason = "it lacks an event that this node knows".to_owned();
                return Err(NodeCallError::OtherHistory(reason));
            }
            let is_end = page.len() < BATCH;
            count += self.take(page);
            if is_end {
                return Ok(count);
            }
        }
    }

    /// Takes records over that follow each other. Returns how many were new.
    pub(in crate::store::kurrentdb) fn take(&self, records: Vec<WireRecord>) -> usize {
        let count = records.len();
        self.log.follow(records).unwrap_or_else(|error| {
            self.condition.damaged(error.to_string());
            count
        })
    }
}
