//! Writes records after an exact revision, and again under the same ids when nobody says whether that was done.
//!
//! The expected revision is always exact: only then does the server recognise a repeat for ever. One that expects any
//! revision is recognised in a cache that is lost with the server.

use std::sync::Arc;

use tokio::time::Instant;

use crate::store::{
    StoreMeter,
    kurrentdb::{
        connecting::{
            node_call_error::NodeCallError, supervisor::ConnectionSupervisor, timing,
            wire_requests::StreamWrite,
        },
        database_condition::DatabaseCondition,
    },
};

/// Writes to streams.
#[derive(Clone)]
pub(in crate::store::kurrentdb) struct StreamWrites {
    pub(in crate::store::kurrentdb) supervisor: Arc<ConnectionSupervisor>,
    pub(in crate::store::kurrentdb) condition: Arc<DatabaseCondition>,
    pub(in crate::store::kurrentdb) meter: Arc<StoreMeter>,
}

impl StreamWrites {
    /// Writes until that is done or refused, or until the deadline. Returns the revision of the last record.
    pub(in crate::store::kurrentdb) async fn write(
        &self,
        write: StreamWrite,
        deadline: Instant,
    ) -> Result<u64, NodeCallError> {
        let last = write.next + write.records.len() as u64 - 1;
        let write = Arc::new(write);
        loop {
            let again = Arc::clone(&write);
            let started = Instant::now();
            let calling = self.supervisor.try_call(move |connection| {
                let write = Arc::clone(&again);
                async move { connection.append(&write).await }
            });
            let written = calling.await;
            self.meter.took(started.elapsed());
            match written {
                Err(error) if error.is_passing() && Instant::now() < deadline => {
                    self.condition.fails(&error);
                    tokio::time::sleep(timing::RETRY).await;
                }
                Err(error @ (NodeCallError::Moved | NodeCallError::Tombstone)) => {
                    self.condition.works();
                    return Err(error);
                }
                Err(error) => {
                    self.condition.fails(&error);
                    return Err(error);
                }
                Ok(()) => {
                    self.condition.works();
                    return Ok(last);
                }
            }
        }
    }
}
