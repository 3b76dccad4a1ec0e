//! Closes conversations that nobody continues: at an interval it asks the inbox which conversations are open and
//! closes those without a message for too long.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    Ambient, EventLog,
    cluster::HeldLease,
    event::EventCause,
    session::{ConversationCloseReason, SessionRefusal},
};

use super::{session_actor::SessionError, session_directory::SessionDirectory};
use crate::{
    inbox::InboxView,
    projections::ViewError,
    timing::{AgeClock, NodeDuty, PeriodicTask},
};

/// The longest time between two runs.
const RUN_EVERY: Duration = Duration::from_secs(60);

/// How long a run waits for the inbox. After that the next run tries.
const INBOX_PATIENCE: Duration = Duration::from_secs(10);

/// How many conversations it takes from the inbox at a time.
const PAGE_CONVERSATIONS: u32 = 500;

/// Closes idle conversations.
pub struct IdleCloser {
    /// The sessions.
    pub directory: SessionDirectory,
    /// Which conversations are open.
    pub inbox: InboxView,
    /// The log.
    pub store: Arc<dyn EventLog>,
    /// Of several nodes one closes.
    pub duty: NodeDuty,
    /// How long a conversation stays open without a message.
    pub close_after: Duration,
}

impl IdleCloser {
    /// Starts it on the caller's arbiter.
    pub fn start(self, ambient: Ambient) {
        let age = AgeClock::start(ambient);
        PeriodicTask::every(RUN_EVERY.min(self.close_after)).start(async move || {
            let Some(lease) = self.duty.take().await else { return };
            if let Err(error) = self.close_idle(&age, &lease).await {
                tracing::warn!(%error, "idle conversations could not be looked up; trying again");
            }
        });
    }

    async fn close_idle(&self, age: &AgeClock, lease: &HeldLease) -> Result<(), ViewError> {
        let deadline = age.before(self.close_after);
        // An inbox that is behind the log shows conversations as idle that are not.
        self.inbox.progress().reach(self.store.current_head().await?, INBOX_PATIENCE).await?;
        let mut after = None;
        loop {
            let page = self.inbox.open_conversations(after, PAGE_CONVERSATIONS).await?;
            let Some(last) = page.last().filter(|_| lease.is_valid()) else { return Ok(()) };
            after = Some((last.tenant.clone(), last.session.clone()));
            for idle in page.into_iter().filter(|open| open.last_at <= deadline) {
                let cause = EventCause { causation: "idle".into(), actor: "service:idle-closer".into() };
                let reason = ConversationCloseReason::Idle;
                match self.directory.close(&idle.tenant, &idle.session, reason, cause).await {
                    // A session that was erased meanwhile has nothing to close.
                    Ok(()) | Err(SessionError::Refused(SessionRefusal::NotFound)) => {}
                    Err(error) => {
                        tracing::warn!(%error, tenant.id = %idle.tenant, "a conversation was not closed");
                    }
                }
            }
        }
    }
}
