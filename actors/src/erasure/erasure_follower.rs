//! Erasures by other nodes: this node forgets the same sessions in memory, and its read models keep no remains of them. With
//! one node there is nothing to follow.
//!
//! An erasure that came while this node was away, or just before it was killed, leaves no other trace here, so each start
//! cleans the file once too. What `[retention]` removes is not a person: its remains wait, as on the node that removed it,
//! for the next person.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use amoiq_events::{
    Event, Position, RecordedEvent, SessionId, TenantId, codec,
    store::{EventBatch, LogSubscription},
    tenant::TenantEvent,
};

use super::{EraseError, ErasureTargets, RETENTION_ACTOR, RETRY_EVERY};
use crate::projections::ViewError;

/// How long it waits for the rest of an erasure, whose sessions come one by one.
const GATHERING: Duration = Duration::from_secs(1);

/// How long it waits for the inbox to fold an erasure, before it tries again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sessions of each tenant that were erased, and where that was recorded.
type SessionsByTenant = BTreeMap<TenantId, HashMap<SessionId, Position>>;

/// What other nodes erased.
#[derive(Default)]
struct ForeignErasures {
    persons: SessionsByTenant,
    /// By age.
    old: SessionsByTenant,
}

/// Follows erasures.
pub(super) struct ErasureFollower {
    targets: Arc<ErasureTargets>,
    /// Remains of persons may be in the file of the read models.
    is_unclean: bool,
}

impl ErasureFollower {
    /// Starts it on the caller's arbiter, if other nodes may append to the log.
    pub(super) fn start(targets: &Arc<ErasureTargets>) {
        if targets.store.is_shared() {
            let mut follower = Self { targets: Arc::clone(targets), is_unclean: true };
            let mut subscription = targets.store.subscribe(targets.store.head());
            actix::spawn(async move {
                follower.repeat(&ForeignErasures::default()).await;
                while let Some(erased) = follower.next(&mut subscription).await {
                    follower.repeat(&erased).await;
                }
            });
        }
    }

    /// Waits for the next erasures; `None` when the log is closed.
    async fn next(&mut self, subscription: &mut LogSubscription) -> Option<ForeignErasures> {
        let mut erased = ForeignErasures::default();
        while erased.persons.is_empty() && erased.old.is_empty() {
            match subscription.next().await {
                Ok(batch) => erased.gather(&batch?),
                Err(error) => {
                    tracing::warn!(%error, "erasures of other nodes wait for the log");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
        let end = tokio::time::Instant::now() + GATHERING;
        while let Ok(Ok(Some(batch))) = tokio::time::timeout_at(end, subscription.next()).await {
            erased.gather(&batch);
        }
        self.is_unclean |= !erased.persons.is_empty();
        Some(erased)
    }

    /// Repeats erasures on this node; tries until that is done.
    async fn repeat(&mut self, erased: &ForeignErasures) {
        while let Err(error) = self.try_repeat(erased).await {
            if matches!(error, EraseError::View(ViewError::Rebuilding)) {
                // As at each first start, and after a lost file.
                tracing::debug!(%error, "the file is cleaned of what was erased after the rebuild");
            } else {
                tracing::warn!(%error, "an erasure is not complete on this node; trying again");
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    async fn try_repeat(&mut self, erased: &ForeignErasures) -> Result<(), EraseError> {
        for (tenant, sessions) in &erased.persons {
            self.targets.forget(tenant, &Arc::new(sessions.clone()), None).await?;
        }
        for (tenant, sessions) in &erased.old {
            self.targets.sweep(tenant, &Arc::new(sessions.clone())).await?;
        }
        if self.is_unclean {
            let head = self.targets.store.current_head().await?;
            self.targets.inbox.progress().reach(head, PATIENCE).await?;
            self.targets.inbox.scrub().await?;
            self.is_unclean = false;
        }
        Ok(())
    }
}

impl ForeignErasures {
    fn gather(&mut self, batch: &EventBatch) {
        for recorded in batch.events.iter().filter(|event| &*event.event.kind == "session.erased") {
            // The inbox reports one that does not read.
            let Some((tenant, session)) = erased_session(recorded) else { continue };
            let is_old = &*recorded.event.actor == RETENTION_ACTOR;
            let of_tenants = if is_old { &mut self.old } else { &mut self.persons };
            of_tenants.entry(tenant).or_default().insert(session, recorded.position);
        }
    }
}

fn erased_session(recorded: &RecordedEvent) -> Option<(TenantId, SessionId)> {
    match codec::decode(recorded) {
        Ok(Event::Tenant(TenantEvent::SessionErased(erased))) => {
            Some((recorded.stream.tenant_id()?, erased.session_id))
        }
        _ => None,
    }
}
