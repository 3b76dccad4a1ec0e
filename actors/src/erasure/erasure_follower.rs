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
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{EraseError, ErasureTargets, RETENTION_ACTOR, RETRY_EVERY};
use crate::projections::ViewError;

/// How long it waits for the rest of an erasure, whose sessions come one by one.
const GATHERING: Duration = Duration::from_secs(1);

/// How long cleaning waits for the inbox: the next erasure must not wait behind it.
const PATIENCE: Duration = Duration::from_secs(1);

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
            let follower = Self { targets: Arc::clone(targets), is_unclean: true };
            actix::spawn(follower.run(targets.store.subscribe(targets.store.head())));
        }
    }

    /// Repeats what other nodes erase. What fails, or waits for a rebuild, keeps nobody from being forgotten meanwhile.
    async fn run(mut self, mut subscription: LogSubscription) {
        let mut erased = ForeignErasures::default();
        loop {
            let left = self.try_repeat(&mut erased).await.is_err();
            let next = subscription.next();
            let next = if left { timeout(RETRY_EVERY, next).await } else { Ok(next.await) };
            match next {
                Ok(Ok(Some(batch))) => erased.gather(&batch),
                Ok(Ok(None)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "erasures of other nodes wait for the log");
                    sleep(RETRY_EVERY).await;
                }
                Err(_retry) => {}
            }
            if !erased.is_empty() {
                let end = Instant::now() + GATHERING;
                while let Ok(Ok(Some(batch))) = timeout_at(end, subscription.next()).await {
                    erased.gather(&batch);
                }
            }
            self.is_unclean |= !erased.persons.is_empty();
        }
    }

    /// Repeats erasures on this node, as far as that is possible now; what is done is taken out.
    async fn try_repeat(&mut self, erased: &mut ForeignErasures) -> Result<(), EraseError> {
        let repeated = self.forget(erased).await.and(self.clean().await);
        match &repeated {
            Ok(()) => {}
            // As at each first start, and after a lost file.
            Err(error @ EraseError::View(ViewError::Rebuilding)) => {
                tracing::debug!(%error, "the file is cleaned of what was erased after the rebuild");
            }
            Err(error) => tracing::warn!(%error, "an erasure is not complete on this node; trying again"),
        }
        repeated
    }

    async fn forget(&self, erased: &mut ForeignErasures) -> Result<(), EraseError> {
        while let Some(entry) = erased.persons.first_entry() {
            self.targets.forget(entry.key(), &Arc::new(entry.get().clone()), None).await?;
            entry.remove();
        }
        while let Some(entry) = erased.old.first_entry() {
            self.targets.sweep(entry.key(), &Arc::new(entry.get().clone())).await?;
            entry.remove();
        }
        Ok(())
    }

    /// Removes the remains from the file.
    async fn clean(&mut self) -> Result<(), EraseError> {
        if self.is_unclean {
            // What came while this node was away is folded first.
            let head = self.targets.store.current_head().await?;
            self.targets.inbox.progress().reach(head, PATIENCE).await?;
            self.targets.inbox.scrub().await?;
            self.is_unclean = false;
        }
        Ok(())
    }
}

impl ForeignErasures {
    fn is_empty(&self) -> bool {
        self.persons.is_empty() && self.old.is_empty()
    }

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
