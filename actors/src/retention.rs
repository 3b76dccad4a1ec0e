//! Removes what is older than the settings allow: presence events, and sessions whose conversation was closed long ago.
//!
//! At an interval it asks the log and the inbox what is too old, and removes it in small steps with pauses, so that no
//! request waits for it. What cannot be removed is skipped. It keeps no state: the next run finds whatever a failure or
//! a stop left. Removed rows leave free pages in the files; only [`crate::erasure`] overwrites them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use amoiq_events::{
    Ambient, EventStore, SessionId, StreamName, TenantId, Timestamp, Version,
    event::EventCause,
    store::{LogReader, MAX_READ_EVENTS},
};

use crate::{
    erasure::{EraseError, EraserHandle, RETENTION_ACTOR},
    inbox::{InboxConversation, InboxView},
    timing::{AgeClock, NodeDuty, PeriodicTask},
};

/// The longest time between two runs.
const RUN_EVERY: Duration = Duration::from_secs(3_600);

/// How long a run waits for the inbox. After that the next run tries.
const INBOX_PATIENCE: Duration = Duration::from_secs(10);

/// How many sessions are erased between two pauses.
const STEP_SESSIONS: u32 = 100;

/// The pause between two steps.
const PAUSE: Duration = Duration::from_millis(250);

/// What the names of presence streams start with.
const PRESENCE_PREFIX: &str = "presence:";

/// How long data are kept; `None` means for ever.
#[derive(Debug, Clone, Copy)]
pub struct RetentionSettings {
    /// Presence events.
    pub presence: Option<Duration>,
    /// Sessions, counted from when their conversation was closed.
    pub sessions: Option<Duration>,
}

/// Removes what is too old.
pub struct RetentionTask {
    eraser: EraserHandle,
    inbox: InboxView,
    store: Arc<dyn EventStore>,
    duty: NodeDuty,
    age: AgeClock,
    settings: RetentionSettings,
}

impl RetentionTask {
    /// Starts it on the caller's arbiter, unless everything is kept. Of several nodes one removes.
    pub fn start(
        eraser: EraserHandle,
        inbox: InboxView,
        duty: NodeDuty,
        ambient: Ambient,
        settings: RetentionSettings,
    ) {
        let kept = [settings.presence, settings.sessions];
        let Some(shortest) = kept.into_iter().flatten().min() else { return };
        let (store, age) = (Arc::clone(eraser.store()), AgeClock::start(ambient));
        let task = Self { eraser, inbox, store, duty, age, settings };
        PeriodicTask::every(RUN_EVERY.min(shortest)).start(async move || {
            if task.duty.take().await.is_some() {
                task.run().await;
            }
        });
    }

    async fn run(&self) {
        if let Some(kept) = self.settings.presence
            && let Err(error) = self.truncate_all_presence(self.age.before(kept)).await
        {
            tracing::warn!(%error, "old presence events could not be removed; trying again");
        }
        if let Some(kept) = self.settings.sessions
            && let Err(error) = self.erase_sessions(self.age.before(kept)).await
        {
            tracing::warn!(%error, "old sessions could not be removed; trying again");
        }
    }

    async fn truncate_all_presence(&self, before: Timestamp) -> Result<(), EraseError> {
        let mut after = None;
        loop {
            let names = self.store.streams(PRESENCE_PREFIX, after, MAX_READ_EVENTS).await?;
            let Some(last) = names.last() else { return Ok(()) };
            after = Some(last.clone());
            for name in names {
                // A damaged stream must not protect those after it.
                if let Err(error) = self.truncate_presence(&name, before).await {
                    tracing::warn!(%error, stream = %name, "old presence events stay; trying again");
                }
            }
        }
    }

    /// Removes old events from the start of a stream, some at a time.
    async fn truncate_presence(&self, stream: &StreamName, before: Timestamp) -> Result<(), EraseError> {
        let mut pages = LogReader::stream(&*self.store, stream.clone(), Version::FIRST);
        while let Some(events) = pages.next_page().await? {
            let old = events.iter().take_while(|event| event.event.time < before);
            let Some(end) = old.last().map(|last| last.version.next()) else { break };
            self.store.truncate(stream.clone(), end).await?;
            if events.len() < MAX_READ_EVENTS || events.last().is_some_and(|last| last.version >= end) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn erase_sessions(&self, before: Timestamp) -> Result<(), EraseError> {
        // An inbox that is behind the log does not know of conversations that were reopened.
        self.inbox.progress().reach(self.store.current_head().await?, INBOX_PATIENCE).await?;
        let mut after = None;
        loop {
            let page = self.inbox.closed_conversations(after, before, STEP_SESSIONS).await?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            after = Some(last);
            for (tenant, sessions) in by_tenant(page) {
                self.expire(&tenant, sessions, before).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Continues past sessions that cannot be erased: the next run would find the same ones first.
    async fn expire(&self, tenant: &TenantId, mut sessions: Vec<SessionId>, before: Timestamp) {
        while !sessions.is_empty() {
            let cause = EventCause { causation: "retention".into(), actor: RETENTION_ACTOR.into() };
            let (untried, ended) = self.eraser.expire(tenant.clone(), sessions, before, cause).await;
            if let Err(error) = ended {
                tracing::warn!(%error, tenant.id = %tenant, "an old session stays; trying again");
            }
            sessions = untried;
        }
    }
}

fn by_tenant(page: Vec<InboxConversation>) -> BTreeMap<TenantId, Vec<SessionId>> {
    let mut tenants = BTreeMap::<_, Vec<_>>::new();
    for closed in page {
        tenants.entry(closed.tenant).or_default().push(closed.session);
    }
    tenants
}
