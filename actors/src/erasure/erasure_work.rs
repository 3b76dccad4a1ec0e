//! The work of an erasure: sessions one by one, then what is derived from them, then the files.
//!
//! A failure does not stop the rest; the first error is the answer. The file `erasing` then contains only what is left, so
//! that repeating it does not touch a person who came back.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use amoiq_events::{
    Position, SessionId, TenantId, Timestamp, UserId, event::EventCause, store::sqlite::NoBackup,
};

use super::{
    EraseError, ErasureTargets,
    erasure_orders::{self, ErasureOrder},
    presence_erasure, unfinished_erasures,
};
use crate::{presence::ForgetTarget, sessions::ErasureCondition};

/// How long it waits for a part of the service.
const PATIENCE: Duration = Duration::from_secs(30);

/// After so many failed sessions the others are not tried. They come first in the next try, or sessions that can never be
/// erased would block them for ever.
const MAX_FAILURES: usize = 10;

/// What became of the sessions of an order.
#[derive(Default)]
struct RemovalOutcome {
    /// Sessions that existed.
    erased: Vec<SessionId>,
    /// Sessions that the log does not contain any more, and the position where each ended.
    gone: HashMap<SessionId, Position>,
    /// Sessions that were not tried.
    untried: Vec<SessionId>,
    /// Sessions that could not be erased.
    failed: Vec<SessionId>,
    first_error: Option<EraseError>,
}

impl ErasureTargets {
    /// Executes an order, and scrubs the files.
    pub(super) async fn erase(&self, order: ErasureOrder) -> Result<Vec<SessionId>, EraseError> {
        let order = self.orders(order.clone(), move |data| erasure_orders::add(data, order)).await?;
        self.carry_out(order, HashMap::new()).await
    }

    /// Erases those of the sessions whose conversation was closed before a time. Also returns those that were not tried.
    pub(super) async fn expire(
        &self,
        tenant: &TenantId,
        sessions: Vec<SessionId>,
        closed_before: Timestamp,
        cause: &EventCause,
    ) -> (Vec<SessionId>, Result<(), EraseError>) {
        let removal =
            self.remove(tenant, sessions, ErasureCondition::ClosedBefore(closed_before), cause).await;
        let gone = Arc::new(removal.gone);
        let swept = if gone.is_empty() { Ok(()) } else { self.sweep(tenant, &gone).await };
        log_erased(tenant, removal.erased.len(), cause);
        (removal.untried, removal.first_error.map_or(swept, Err))
    }

    /// Repeats unfinished orders.
    pub(super) async fn resume(&self) -> Result<(), EraseError> {
        let mut ended = Ok(());
        for order in self.orders(Vec::new(), erasure_orders::read).await? {
            // Recorded erasures may be done only in part, and new sessions may have started since.
            let erased = unfinished_erasures::ends(&*self.store, &order.tenant).await?;
            match self.carry_out(order, erased).await {
                Ok(_) => tracing::info!("an erasure that was interrupted is complete"),
                Err(error) => ended = ended.and(Err(error)),
            }
        }
        ended
    }

    /// Executes a stored order. Of its sessions that the log does not contain, `ends` may say where they ended.
    async fn carry_out(
        &self,
        order: ErasureOrder,
        ends: HashMap<SessionId, Position>,
    ) -> Result<Vec<SessionId>, EraseError> {
        let condition = ErasureCondition::StartedBy(order.until);
        let RemovalOutcome { erased, mut gone, untried, failed, mut first_error } =
            self.remove(&order.tenant, order.sessions.clone(), condition, &order.cause).await;
        let left: Vec<_> = untried.into_iter().chain(failed).collect();
        // A session may be gone from the log but not from elsewhere.
        for session in order.sessions.iter().filter(|session| !left.contains(session)) {
            let end = ends.get(session).map_or(order.until, |end| order.until.max(*end));
            gone.entry(session.clone()).or_insert(end);
        }
        let names_nobody = gone.is_empty() && order.user.is_none();
        let mut rest = Vec::new();
        let gone = Arc::new(gone);
        if !names_nobody && let Err(error) = self.forget(&order.tenant, &gone, order.user.as_ref()).await {
            first_error = first_error.or(Some(error));
            let done = order.sessions.iter().filter(|session| !left.contains(session)).cloned();
            rest.push(ErasureOrder { sessions: left.iter().cloned().chain(done).collect(), ..order.clone() });
        } else if !left.is_empty() {
            rest.push(ErasureOrder { sessions: left, user: None, ..order.clone() });
        }
        // An order none of whose sessions could be erased leaves nothing new in the files.
        if (!names_nobody || order.sessions.is_empty())
            && let Err(error) = self.scrub().await
        {
            first_error = first_error.or(Some(error));
            rest.push(ErasureOrder { sessions: Vec::new(), user: None, ..order.clone() });
        }
        if first_error.is_none() || !erased.is_empty() {
            log_erased(&order.tenant, erased.len(), &order.cause);
        }
        self.orders((), move |data| erasure_orders::replace(data, &order, rest)).await?;
        first_error.map_or(Ok(erased), Err)
    }

    /// Deletes sessions from the log, if they meet the condition.
    async fn remove(
        &self,
        tenant: &TenantId,
        sessions: Vec<SessionId>,
        condition: ErasureCondition,
        cause: &EventCause,
    ) -> RemovalOutcome {
        let mut removal = RemovalOutcome::default();
        for session in sessions {
            if removal.failed.len() >= MAX_FAILURES {
                removal.untried.push(session);
                continue;
            }
            match self.directory.erase(tenant, &session, condition, cause.clone()).await {
                Ok(Some(at)) => {
                    removal.gone.insert(session.clone(), at);
                    removal.erased.push(session);
                }
                Ok(None) => {}
                Err(error) => {
                    removal.failed.push(session);
                    removal.first_error.get_or_insert(error.into());
                }
            }
        }
        removal
    }

    /// Removes a person's presence, and what is derived from sessions that are gone.
    pub(super) async fn forget(
        &self,
        tenant: &TenantId,
        gone: &Arc<HashMap<SessionId, Position>>,
        user: Option<&UserId>,
    ) -> Result<(), EraseError> {
        let forgotten = self.forget_presence(tenant, gone, user).await;
        self.sweep(tenant, gone).await.and(forgotten)
    }

    async fn forget_presence(
        &self,
        tenant: &TenantId,
        gone: &Arc<HashMap<SessionId, Position>>,
        user: Option<&UserId>,
    ) -> Result<(), EraseError> {
        let sessions = Arc::new(gone.keys().cloned().collect());
        let whom = ForgetTarget { user: user.cloned(), sessions };
        // First, or announcements about them would be appended after the end of what is truncated.
        let forgotten = tokio::time::timeout(PATIENCE, self.presence.forget(tenant, whom)).await;
        presence_erasure::forget(&*self.store, tenant, gone, user).await?;
        forgotten.map_err(|_elapsed| EraseError::Late)?.map_err(|_gone| EraseError::Gone)
    }

    /// Removes what is derived from sessions that are gone from the log.
    pub(super) async fn sweep(
        &self,
        tenant: &TenantId,
        gone: &Arc<HashMap<SessionId, Position>>,
    ) -> Result<(), EraseError> {
        // A projection that does not follow must not prevent the rest.
        let followed = match self.store.current_head().await {
            Ok(head) => self.inbox.progress().reach(head, PATIENCE).await,
            Err(error) => Err(error.into()),
        };
        self.proven.forget();
        let swept = self.inbox.remove_gone_letters(&*self.store).await;
        // Without a deadline: it would start again each time, and never end when there is much.
        self.webhooks.erase(tenant, gone).await?;
        Ok(followed.and(swept)?)
    }

    /// Overwrites what was removed in every file, and makes sure that no backup is being made.
    async fn scrub(&self) -> Result<(), EraseError> {
        self.store.scrub().await?;
        self.inbox.scrub().await?;
        self.webhooks.scrub().await?;
        let Some(data) = self.data.clone() else { return Ok(()) };
        let taking = tokio::task::spawn_blocking(move || NoBackup::take(&data));
        match taking.await.map_err(|_panicked| EraseError::Gone)? {
            Ok(Some(_none)) => Ok(()),
            Ok(None) => Err(EraseError::CopyUnderway),
            Err(error) => Err(EraseError::Witness(error)),
        }
    }

    /// Reads or writes the file `erasing`. Without files the result is `otherwise`.
    async fn orders<T: Send + 'static>(
        &self,
        otherwise: T,
        act: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, EraseError> {
        let Some(data) = self.data.clone() else { return Ok(otherwise) };
        let acting = tokio::task::spawn_blocking(move || act(&data));
        Ok(acting.await.map_err(|_panicked| EraseError::Gone)??)
    }
}

fn log_erased(tenant: &TenantId, sessions: usize, cause: &EventCause) {
    tracing::info!(tenant.id = %tenant, sessions, by = &*cause.actor, "sessions were erased");
}
