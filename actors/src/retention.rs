//! Lets go of what is old: who was online, and sessions whose conversation was closed long ago.
//!
//! A reconciler, woken by a timer: it asks the log and the inbox what is too old, and takes it away a little
//! at a time, with pauses, so that nobody who is served waits for it. What fails is passed by. It remembers
//! nothing: whatever that or a stop left is there at the next look. The files keep free pages for what comes;
//! [`crate::erasure`] is what sees to every byte.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    Ambient, EventStore, SessionId, StreamName, TenantId, Timestamp, Version,
    event::EventCause,
    store::{MAX_READ_EVENTS, ReadDirection},
};

use crate::{
    age_clock::AgeClock,
    erasure::{EraseError, EraserHandle},
    inbox::{ClosedConversation, InboxView},
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// How long it waits for the inbox before it leaves it to the next time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many sessions go at a time.
const SESSIONS: u32 = 100;

/// How long it pauses between two steps.
const PAUSE: Duration = Duration::from_millis(250);

/// The presence streams of all tenants.
const PRESENCES: &str = "presence:";

/// How long things are kept; nothing for ever.
#[derive(Debug, Clone, Copy)]
pub struct RetentionSettings {
    /// Who came and went.
    pub presence: Option<Duration>,
    /// Sessions, from when their conversation was closed.
    pub sessions: Option<Duration>,
}

/// The actor that lets go.
pub struct RetentionTask {
    desk: Desk,
}

#[derive(Clone)]
struct Desk {
    eraser: EraserHandle,
    inbox: InboxView,
    store: Arc<dyn EventStore>,
    age: AgeClock,
    settings: RetentionSettings,
}

impl RetentionTask {
    /// Starts it on the caller's arbiter; not when everything is kept.
    pub fn start(
        eraser: EraserHandle,
        inbox: InboxView,
        store: Arc<dyn EventStore>,
        ambient: Ambient,
        settings: RetentionSettings,
    ) {
        if settings.presence.is_some() || settings.sessions.is_some() {
            let age = AgeClock::start(ambient);
            Actor::start(Self { desk: Desk { eraser, inbox, store, age, settings } });
        }
    }
}

impl Actor for RetentionTask {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let kept = [self.desk.settings.presence, self.desk.settings.sessions];
        let shortest = kept.into_iter().flatten().min().unwrap_or(LOOK_EVERY);
        ctx.run_interval(LOOK_EVERY.min(shortest), |retention, ctx| {
            let desk = retention.desk.clone();
            let work = async move { desk.let_go().await };
            // The next look waits until this one is done.
            ctx.wait(work.into_actor(retention));
        });
    }
}

impl Desk {
    async fn let_go(&self) {
        if let Some(kept) = self.settings.presence
            && let Err(error) = self.presences(self.age.before(kept)).await
        {
            tracing::warn!(%error, "who came and went long ago could not be removed; trying again");
        }
        if let Some(kept) = self.settings.sessions
            && let Err(error) = self.sessions(self.age.before(kept)).await
        {
            tracing::warn!(%error, "old sessions could not be removed; trying again");
        }
    }

    async fn presences(&self, before: Timestamp) -> Result<(), EraseError> {
        let mut after = None;
        loop {
            let names = self.store.streams(PRESENCES, after, MAX_READ_EVENTS).await?;
            let Some(last) = names.last() else { return Ok(()) };
            after = Some(last.clone());
            for name in names {
                // One that is damaged must not keep those behind it.
                if let Err(error) = self.presence(&name, before).await {
                    tracing::warn!(%error, stream = %name, "who came and went long ago stays; trying again");
                }
            }
        }
    }

    async fn presence(&self, stream: &StreamName, before: Timestamp) -> Result<(), EraseError> {
        while self.truncate(stream, before).await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Removes some events from the begin of a stream. Whether there may be more.
    async fn truncate(&self, stream: &StreamName, before: Timestamp) -> Result<bool, EraseError> {
        let from = Version::from_u64(1);
        let events =
            self.store.read_stream(stream.clone(), from, ReadDirection::Forward, MAX_READ_EVENTS).await?;
        let old = events.iter().take_while(|event| event.event.time < before).last();
        let Some(old) = old.map(|old| old.version) else { return Ok(false) };
        self.store.truncate(stream.clone(), old.plus(1)).await?;
        Ok(events.len() == MAX_READ_EVENTS && events.last().is_some_and(|last| last.version == old))
    }

    async fn sessions(&self, before: Timestamp) -> Result<(), EraseError> {
        // While the inbox is behind, it does not know who is there again.
        self.inbox.progress().reach(self.store.head(), PATIENCE).await?;
        let mut after = None;
        loop {
            let page = self.inbox.closed_conversations(after, before, SESSIONS).await?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            after = Some(last);
            for (tenant, sessions) in by_tenant(page) {
                self.expire(&tenant, sessions, before).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Goes on with those behind the ones that stay: at the next look the same ones come first.
    async fn expire(&self, tenant: &TenantId, mut sessions: Vec<SessionId>, before: Timestamp) {
        while !sessions.is_empty() {
            let cause = EventCause { causation: "retention".into(), actor: "service:retention".into() };
            let (untried, ended) = self.eraser.expire(tenant.clone(), sessions, before, cause).await;
            if let Err(error) = ended {
                tracing::warn!(%error, tenant.id = %tenant, "an old session stays; trying again");
            }
            sessions = untried;
        }
    }
}

fn by_tenant(page: Vec<ClosedConversation>) -> BTreeMap<TenantId, Vec<SessionId>> {
    let mut tenants = BTreeMap::<_, Vec<_>>::new();
    for closed in page {
        tenants.entry(closed.tenant).or_default().push(closed.session);
    }
    tenants
}
