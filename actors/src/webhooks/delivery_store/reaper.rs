//! Removes settled deliveries that are too old or too many: at an interval it goes through all lanes. It pauses between
//! its transactions, so that the lanes' own go first.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    Ambient, Timestamp,
    cluster::{ClusterLeases, LeaseName},
};

use super::{CHUNK_ROWS, DeliveryStore, DeliveryStoreError, LaneId, log_damaged};
use crate::timing::{AgeClock, PeriodicTask};

/// How often it runs.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long it pauses after each transaction.
pub(super) const REST: Duration = Duration::from_millis(20);

/// For how long, and how many, settled deliveries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryRetention {
    /// Since they were last written.
    pub keep_for: Duration,
    /// The most settled deliveries of one endpoint.
    pub keep: u32,
}

/// Removes old deliveries.
pub struct DeliveryReaper;

impl DeliveryReaper {
    /// Starts it on the caller's arbiter. Of several nodes one removes.
    pub fn start(
        outbox: DeliveryStore,
        leases: Arc<dyn ClusterLeases>,
        ambient: Ambient,
        retention: DeliveryRetention,
    ) {
        let age = AgeClock::start(ambient);
        PeriodicTask::every(LOOK_EVERY.min(retention.keep_for)).start(async move || {
            let duty = leases.acquire(vec![LeaseName::new("duty", "deliveries")]).await;
            if !duty.is_ok_and(|granted| !granted.is_empty()) {
                return;
            }
            if let Err(error) = reap_all(&outbox, age.before(retention.keep_for), retention.keep).await {
                tracing::warn!(%error, "old deliveries could not be looked up; trying again");
            }
        });
    }
}

/// Goes through all lanes. One that cannot be read does not stop the others.
async fn reap_all(outbox: &DeliveryStore, before: Timestamp, keep: u32) -> Result<(), DeliveryStoreError> {
    for (lane, names) in outbox.lanes().await? {
        let Ok((tenant, webhook)) = names.inspect_err(|error| log_damaged(lane, error)) else { continue };
        match reap(outbox, lane, before, keep).await {
            // The lane was removed meanwhile.
            Ok(()) | Err(DeliveryStoreError::NoLane) => {}
            Err(error) => {
                tracing::warn!(%error, tenant.id = %tenant, webhook.id = %webhook,
                    "old deliveries were not removed; trying again");
            }
        }
    }
    Ok(())
}

async fn reap(
    outbox: &DeliveryStore,
    lane: LaneId,
    before: Timestamp,
    keep: u32,
) -> Result<(), DeliveryStoreError> {
    while outbox.reap(lane, before, keep, CHUNK_ROWS).await? > 0 {
        tokio::time::sleep(REST).await;
    }
    Ok(())
}
