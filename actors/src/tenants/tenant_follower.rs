//! Tenants that other nodes change: their settings, keys and webhooks reach this node's registry as the log is followed.
//! With one node there is nothing to follow.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use amoiq_events::{
    EventLog, Position, StreamName,
    store::{EventBatch, LogSubscription},
    stream::StreamKind,
};

use tokio::sync::Semaphore;

use super::tenant_registry::{TenantLoadError, TenantRegistry, catch_up};
use crate::projections::{ProgressReporter, ProjectionProgress};

/// Recorded in a tenant's stream, and no change of the tenant.
const SESSION_ERASED: &str = "session.erased";

/// How long it waits after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long a refusal waits for the end of the log.
const NEWS_PATIENCE: Duration = Duration::from_millis(500);

/// How many wait for it at the same time. Whoever comes beside them is refused at once.
const NEWS_WAITERS: usize = 64;

/// Brings what other nodes changed into a registry.
pub struct TenantFollower {
    registry: Arc<TenantRegistry>,
    log: Arc<dyn EventLog>,
    progress: ProgressReporter,
}

/// Brings a registry up to the present end of the log: what was acknowledged on another node counts here.
pub struct TenantNews {
    log: Arc<dyn EventLog>,
    progress: ProjectionProgress,
    waiters: Semaphore,
}

impl TenantNews {
    /// Waits until the registry has everything that is in the log now, but not for long, and not if many wait already: those
    /// who guess keys must not become a load. All who wait ask the log together.
    pub async fn arrive(&self) {
        let Ok(_waiter) = self.waiters.try_acquire() else { return };
        let arriving = async {
            if let Ok(head) = self.log.current_head().await {
                let _late = self.progress.reach(head, NEWS_PATIENCE).await;
            }
        };
        let _late = tokio::time::timeout(NEWS_PATIENCE, arriving).await;
    }
}

impl TenantFollower {
    /// Starts it on the caller's arbiter, if other nodes may append to the log. `from` is the end of the log before the
    /// registry was read from it. Returns nothing when no other node appends.
    pub fn start(
        registry: &Arc<TenantRegistry>,
        log: &Arc<dyn EventLog>,
        from: Position,
    ) -> Option<TenantNews> {
        if !log.is_shared() {
            return None;
        }
        // There are no tables that could be damaged.
        let (reporter, progress, _damages) = ProjectionProgress::new();
        reporter.reached(from);
        let follower = Self { registry: Arc::clone(registry), log: Arc::clone(log), progress: reporter };
        actix::spawn(follower.follow(log.subscribe(from)));
        Some(TenantNews { log: Arc::clone(log), progress, waiters: Semaphore::new(NEWS_WAITERS) })
    }

    async fn follow(self, mut subscription: LogSubscription) {
        loop {
            match subscription.next().await {
                Ok(Some(batch)) => {
                    for stream in self.changed(&batch) {
                        self.refresh(&stream).await;
                    }
                    self.progress.reached(batch.upto);
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "tenants wait for the log and try again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// The tenants of which the registry does not know the newest state.
    fn changed(&self, batch: &EventBatch) -> BTreeSet<StreamName> {
        let current = self.registry.current();
        let changes = batch.events.iter().filter(|event| {
            event.stream.as_str().starts_with(StreamName::TENANTS) && event.event.kind != SESSION_ERASED
        });
        let is_news = |(stream, version)| match StreamName::kind(stream) {
            Some(StreamKind::Tenant(id)) => current.of_log(&id).is_none_or(|known| known.version() < version),
            _ => false,
        };
        let news = changes.filter(|event| is_news((&event.stream, event.version)));
        news.map(|event| event.stream.clone()).collect()
    }

    /// Reads what a tenant's stream has after the state that is published, and publishes that.
    async fn refresh(&self, stream: &StreamName) {
        let Some(StreamKind::Tenant(id)) = stream.kind() else { return };
        loop {
            let mut tenant = self.registry.published(&id);
            match catch_up(&*self.log, stream, &mut tenant).await {
                Ok(()) => return self.registry.publish(&id, &tenant),
                Err(TenantLoadError::Read(error)) => {
                    tracing::error!(%error, tenant.id = %id, "a tenant waits for the log and tries again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(TenantLoadError::Codec(error)) => {
                    tracing::error!(%error, tenant.id = %id, "a newer release changed a tenant; it stays as it was");
                    return;
                }
            }
        }
    }
}
