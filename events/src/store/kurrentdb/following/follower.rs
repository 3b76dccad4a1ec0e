//! Follows the log of all nodes. A subscription brings what is appended as soon as it is; beside it the log is read every two
//! seconds, and this finds what a subscription that has fallen silent does not bring, and a log that was restored.

use std::sync::Arc;

use amoiq_kurrentdb_protocol::streams::ReadResp;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tonic::Streaming;

use super::catch_up::{BATCH, LogCatchUp};
use crate::store::kurrentdb::{
    connecting::{
        node_call_error::NodeCallError, node_connection::NodeConnection, supervisor::ConnectionSupervisor,
        timing, wire_requests,
    },
    records::log_record::WireRecord,
};

/// How many reads in a row may find what the subscription does not bring.
const MISSES: u32 = 2;

/// The only one that takes records over.
pub(in crate::store::kurrentdb) struct SubscriptionFollower {
    pub(in crate::store::kurrentdb) supervisor: Arc<ConnectionSupervisor>,
    pub(in crate::store::kurrentdb) catch_up: LogCatchUp,
}

impl SubscriptionFollower {
    /// Follows until it is ended.
    pub(in crate::store::kurrentdb) async fn run(self) {
        loop {
            // It only ends with an error.
            if let Err(error) = self.follow().await {
                self.catch_up.condition.followed(Some(error.to_string()));
            }
            sleep(timing::RETRY).await;
        }
    }

    async fn follow(&self) -> Result<(), NodeCallError> {
        let connection = self.supervisor.connection().await?;
        let followed = self.follow_on(&connection).await;
        self.supervisor.judge(&connection, followed.as_ref().err());
        followed
    }

    async fn follow_on(&self, connection: &NodeConnection) -> Result<(), NodeCallError> {
        let (after, _) = self.catch_up.known.newest();
        let subscribing = timeout(timing::CALL, connection.subscribe(after)).await;
        let mut subscription = subscribing.unwrap_or_else(|_late| Err(NodeCallError::silent()))?;
        // What was appended before the subscription began.
        self.catch_up.run(connection).await?;
        self.catch_up.condition.followed(None);
        let mut polls = interval_at(Instant::now() + timing::POLL, timing::POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut misses = 0;
        loop {
            tokio::select! {
                biased;
                answer = subscription.message() => {
                    let Some(answer) = answer? else {
                        return Err(NodeCallError::Broken("the subscription has ended".to_owned()));
                    };
                    misses = 0;
                    self.catch_up.take(batch(answer, &mut subscription).await?);
                }
                _ = polls.tick() => {
                    misses = if self.catch_up.run(connection).await? == 0 { 0 } else { misses + 1 };
                    if misses >= MISSES {
                        return Err(NodeCallError::Broken("the subscription is silent".to_owned()));
                    }
                }
            }
        }
    }
}

/// The record of an answer, and those of the answers that are there already.
async fn batch(
    first: ReadResp,
    subscription: &mut Streaming<ReadResp>,
) -> Result<Vec<WireRecord>, NodeCallError> {
    let mut records: Vec<WireRecord> = wire_requests::record(first).into_iter().collect();
    while records.len() < BATCH {
        tokio::select! {
            biased;
            answer = subscription.message() => match answer? {
                Some(answer) => records.extend(wire_requests::record(answer)),
                None => break,
            },
            () = std::future::ready(()) => break,
        }
    }
    Ok(records)
}
