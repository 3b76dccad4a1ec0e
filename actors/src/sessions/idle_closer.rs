//! Closes conversations that nobody continues: a reconciler, woken by a timer, that asks the inbox
//! which conversations are open and closes those without a message for too long.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    Ambient, EventStore,
    event::EventCause,
    session::{ConversationCloseReason, SessionRefusal},
};

use crate::{
    age_clock::AgeClock,
    inbox::InboxView,
    projections::ViewError,
    sessions::{session_actor::SessionError, session_directory::SessionDirectory},
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long it waits for the inbox before it leaves it to the next time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many conversations it takes from the inbox at a time.
const PAGE: u32 = 500;

/// The actor that closes idle conversations.
pub struct IdleCloser {
    worker: Desk,
}

/// What it works with.
#[derive(Clone)]
struct Desk {
    directory: SessionDirectory,
    inbox: InboxView,
    store: Arc<dyn EventStore>,
    age: AgeClock,
    close_after: Duration,
}

impl IdleCloser {
    /// Starts it on the caller's arbiter.
    pub fn start(
        directory: SessionDirectory,
        inbox: InboxView,
        store: Arc<dyn EventStore>,
        ambient: Ambient,
        close_after: Duration,
    ) {
        let age = AgeClock::start(ambient);
        Actor::start(Self { worker: Desk { directory, inbox, store, age, close_after } });
    }
}

impl Actor for IdleCloser {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY.min(self.worker.close_after), |closer, ctx| {
            let worker = closer.worker.clone();
            let work = async move {
                if let Err(error) = worker.close_idle().await {
                    tracing::warn!(%error, "idle conversations could not be looked up; trying again");
                }
            };
            // The next look waits until this one is done.
            ctx.wait(work.into_actor(closer));
        });
    }
}

impl Desk {
    async fn close_idle(&self) -> Result<(), ViewError> {
        let deadline = self.age.before(self.close_after);
        // While the inbox is behind, it takes conversations for idle that are not.
        self.inbox.progress().reach(self.store.head(), PATIENCE).await?;
        let mut after = None;
        loop {
            let page = self.inbox.open_conversations(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.tenant.clone(), last.session.clone()));
            for idle in page.into_iter().filter(|open| open.last_at <= deadline) {
                let cause = EventCause { causation: "idle".into(), actor: "service:idle-closer".into() };
                let closed = self
                    .directory
                    .close(&idle.tenant, &idle.session, ConversationCloseReason::Idle, cause)
                    .await;
                match closed {
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
