//! Scavenges every node, so that no file of the database holds what was removed.
//!
//! What is removed stays in the files of each node, and in the answers of its `$all`, until a scavenge of that node. Before
//! it, everything that is removed in the log is removed for the server too: a node may have died between the two.

use std::sync::Arc;

use amoiq_kurrentdb_protocol::operations::scavenge_resp::ScavengeResult;
use tokio::time::{Instant, sleep, timeout};

use super::appends::LogAppends;
use crate::store::{
    AppendError, ReadDirection,
    kurrentdb::connecting::{
        cluster_address::NodeAddress, node_call_error::NodeCallError, node_connection::NodeConnection,
        timing, wire_requests::StreamPage,
    },
};

/// The type of the record with which a scavenge ends.
const COMPLETED: &str = "$scavengeCompleted";

impl LogAppends {
    /// Scavenges every node of the cluster, one after the other, and waits for each.
    pub(in crate::store::kurrentdb) async fn scrub(&self) -> Result<(), AppendError> {
        let removed = self.index.lock().removed();
        for (stream, place) in removed {
            // The marker is the last record that a stream without events has.
            let first = if place.is_empty() { place.next.saturating_sub(1) } else { place.first };
            let _turn = self.turns.take(&stream).await;
            self.truncate_before(&stream, first, Instant::now() + timing::APPEND).await?;
        }
        for node in self.nodes().await? {
            timeout(timing::SCAVENGE, self.scavenge(&node)).await.map_err(|_late| {
                AppendError::Unavailable(format!("the scavenge of {node} does not end"))
            })??;
        }
        Ok(())
    }

    /// Every node that has the log's files.
    async fn nodes(&self) -> Result<Vec<NodeAddress>, NodeCallError> {
        let access = self.writes.supervisor.access();
        let given = &access.cluster.nodes;
        if !access.cluster.is_cluster {
            return Ok(given.clone());
        }
        let mut failure = NodeCallError::silent();
        for node in given {
            match timeout(timing::CALL, access.members(node)).await {
                Ok(Ok(members)) if members.iter().all(|member| member.is_alive) => {
                    return Ok(members.into_iter().map(|member| member.node).collect());
                }
                Ok(Ok(_)) => {
                    let reason = "a node is away, and its files hold what was removed".to_owned();
                    return Err(NodeCallError::Refused(reason));
                }
                Ok(Err(error)) => failure = error,
                Err(_late) => {}
            }
        }
        Err(failure)
    }

    async fn scavenge(&self, node: &NodeAddress) -> Result<(), NodeCallError> {
        let connection = NodeConnection::open(self.writes.supervisor.access(), node)?;
        loop {
            let started = timeout(timing::CALL, connection.scavenge()).await;
            let started = started.unwrap_or_else(|_late| Err(NodeCallError::silent()))?;
            let ended = self.end_of(&started.scavenge_id).await?;
            // One that ran already may have passed what was removed since.
            if started.scavenge_result() == ScavengeResult::Started {
                return ended;
            }
        }
    }

    /// Waits for the end of a scavenge, and says how it went.
    async fn end_of(&self, scavenge: &str) -> Result<Result<(), NodeCallError>, NodeCallError> {
        let page = StreamPage {
            name: format!("$scavenges-{scavenge}"),
            from: None,
            direction: ReadDirection::Backward,
            count: 1,
        };
        loop {
            let page = page.clone();
            let reading = self.writes.supervisor.call(
                Instant::now() + timing::READ,
                move |connection: Arc<NodeConnection>| {
                    let page = page.clone();
                    async move { connection.stream_page(&page).await }
                },
            );
            let newest = reading.await?.pop();
            if let Some(newest) = newest.filter(|newest| newest.kind == COMPLETED) {
                return Ok(result(&newest.data));
            }
            sleep(timing::SCAVENGE_POLL).await;
        }
    }
}

/// What a scavenge says of itself at its end.
fn result(data: &[u8]) -> Result<(), NodeCallError> {
    let told: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
    match told.get("result").and_then(serde_json::Value::as_str) {
        Some(told) if told.eq_ignore_ascii_case("success") => Ok(()),
        _ => Err(NodeCallError::Refused(format!("a scavenge did not succeed: {told}"))),
    }
}
