//! The work of an erasure: sessions one by one, then what hangs on them, then the files.
//!
//! What fails is left for another time and keeps nothing else from being done; the first error is the answer.
//! Only what is left stands in the file `erasing` then, so that doing it again touches nobody who came back.

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

/// After so many sessions that could not be erased the others are left too: it is not their fault. They come
/// first when it is done again, or those that never can be erased would keep them from it for ever.
const MAX_FAILURES: usize = 10;

/// What became of some sessions.
#[derive(Default)]
struct RemovalOutcome {
    /// Those that there were.
    erased: Vec<SessionId>,
    /// Those that the log does not have, and where each one ended.
    gone: HashMap<SessionId, Position>,
    /// Those that it did not come to.
    untried: Vec<SessionId>,
    /// Those that could not be erased.
    failed: Vec<SessionId>,
    first_error: Option<EraseError>,
}

impl ErasureTargets {
    /// Erases whom an order names, and sees to the files.
    pub(super) async fn erase(&self, order: ErasureOrder) -> Result<Vec<SessionId>, EraseError> {
        let order = self.orders(order.clone(), move |data| erasure_orders::note(data, order)).await?;
        self.carry_out(order, HashMap::new()).await
    }

    /// Erases those of the sessions whose conversation was closed before a time, and gives back those that it
    /// did not come to.
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
        tell(tenant, removal.erased.len(), cause);
        (removal.untried, removal.first_error.map_or(swept, Err))
    }

    /// Does the orders that were not done.
    pub(super) async fn resume(&self) -> Result<(), EraseError> {
        let mut ended = Ok(());
        for order in self.orders(Vec::new(), erasure_orders::read).await? {
            // What was said before may have been done only in part, and something anew has begun since.
            let erased = unfinished_erasures::ends(&*self.store, &order.tenant).await?;
            match self.carry_out(order, erased).await {
                Ok(_) => tracing::info!("an erasure that was interrupted is complete"),
                Err(error) => ended = ended.and(Err(error)),
            }
        }
        ended
    }

    /// Does a noted order. Of its sessions that the log does not have, `ends` may say where they ended.
    async fn carry_out(
        &self,
        order: ErasureOrder,
        ends: HashMap<SessionId, Position>,
    ) -> Result<Vec<SessionId>, EraseError> {
        let meant = ErasureCondition::StartedBy(order.until);
        let RemovalOutcome { erased, mut gone, untried, failed, mut first_error } =
            self.remove(&order.tenant, order.sessions.clone(), meant, &order.cause).await;
        let left: Vec<_> = untried.into_iter().chain(failed).collect();
        // It may be gone from the log and not from elsewhere.
        for session in order.sessions.iter().filter(|session| !left.contains(session)) {
            let end = ends.get(session).map_or(order.until, |end| order.until.max(*end));
            gone.entry(session.clone()).or_insert(end);
        }
        let names_nobody = gone.is_empty() && order.user.is_none();
        let mut rest = Vec::new();
        if !names_nobody && let Err(error) = self.forget(&order, Arc::new(gone)).await {
            first_error = first_error.or(Some(error));
            let done = order.sessions.iter().filter(|session| !left.contains(session)).cloned();
            rest.push(ErasureOrder { sessions: left.iter().cloned().chain(done).collect(), ..order.clone() });
        } else if !left.is_empty() {
            rest.push(ErasureOrder { sessions: left, user: None, ..order.clone() });
        }
        // What has only sessions that do not go has nothing new in the files.
        if (!names_nobody || order.sessions.is_empty())
            && let Err(error) = self.scrub().await
        {
            first_error = first_error.or(Some(error));
            rest.push(ErasureOrder { sessions: Vec::new(), user: None, ..order.clone() });
        }
        if first_error.is_none() || !erased.is_empty() {
            tell(&order.tenant, erased.len(), &order.cause);
        }
        self.orders((), move |data| erasure_orders::replace(data, &order, rest)).await?;
        first_error.map_or(Ok(erased), Err)
    }

    /// Has the log lose sessions, those of them that are meant.
    async fn remove(
        &self,
        tenant: &TenantId,
        sessions: Vec<SessionId>,
        meant: ErasureCondition,
        cause: &EventCause,
    ) -> RemovalOutcome {
        let mut removal = RemovalOutcome::default();
        for session in sessions {
            if removal.failed.len() >= MAX_FAILURES {
                removal.untried.push(session);
                continue;
            }
            match self.directory.erase(tenant, &session, meant, cause.clone()).await {
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

    /// Removes what is known of a person, and what hangs on sessions that are gone.
    async fn forget(
        &self,
        order: &ErasureOrder,
        gone: Arc<HashMap<SessionId, Position>>,
    ) -> Result<(), EraseError> {
        let forgotten = self.forget_presence(&order.tenant, &gone, order.user.as_ref()).await;
        self.sweep(&order.tenant, &gone).await.and(forgotten)
    }

    async fn forget_presence(
        &self,
        tenant: &TenantId,
        gone: &Arc<HashMap<SessionId, Position>>,
        user: Option<&UserId>,
    ) -> Result<(), EraseError> {
        let sessions = Arc::new(gone.keys().cloned().collect());
        let whom = ForgetTarget { user: user.cloned(), sessions };
        // First, or what is still to be said of them came behind the end of what is truncated.
        let said = tokio::time::timeout(PATIENCE, self.presence.forget(tenant, whom)).await;
        presence_erasure::forget(&*self.store, tenant, gone, user).await?;
        said.map_err(|_elapsed| EraseError::Late)?.map_err(|_gone| EraseError::Gone)
    }

    /// Removes what hangs on sessions that the log does not have any more.
    async fn sweep(
        &self,
        tenant: &TenantId,
        gone: &Arc<HashMap<SessionId, Position>>,
    ) -> Result<(), EraseError> {
        // A projection that stands still must not keep the rest from going.
        let followed = self.inbox.progress().reach(self.store.head(), PATIENCE).await;
        self.proven.forget();
        let swept = self.inbox.remove_gone_letters(&*self.store).await;
        // However long it takes: cut short it would begin anew, and never end where there is much.
        self.webhooks.erase(tenant, gone).await?;
        Ok(followed.and(swept)?)
    }

    /// Sees to it that no file holds what was removed, and no backup will that is being made.
    async fn scrub(&self) -> Result<(), EraseError> {
        self.store.scrub().await?;
        self.inbox.scrub().await?;
        self.webhooks.scrub().await?;
        let Some(data) = self.data.clone() else { return Ok(()) };
        let taking = tokio::task::spawn_blocking(move || NoBackup::take(&data));
        match taking.await.map_err(|_panicked| EraseError::Gone)? {
            Ok(Some(_none)) => Ok(()),
            Ok(None) => Err(EraseError::Copied),
            Err(error) => Err(EraseError::Witness(error)),
        }
    }

    /// Works on the file `erasing`; where there are no files, it is as if that gave `otherwise`.
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

fn tell(tenant: &TenantId, sessions: usize, cause: &EventCause) {
    tracing::info!(tenant.id = %tenant, sessions, by = &*cause.actor, "sessions were erased");
}
