//! The actor of one tenant's presence: a reconciler between who is connected and what was said of them.
//!
//! The routing actor of [`crate::presence`] starts it. It holds its mailbox for nothing: while an append
//! is underway, connections are counted on, and one append is underway at a time. What changed within
//! `batch` is one append; what is more than one may hold waits for the next, so that a crowd does not fill the
//! outboxes of those who watch. When the store refuses, the actor tries again with the difference as it is then.
//! Signals go the same way beside it and need no store: one is underway at a time, and the next one says what there
//! is to say by then. It needs three timers, however many users there are.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    Ambient, EventStore, StreamName, TenantId, UserId,
    event::EventCause,
    store::{AppendError, AppendReceipt, ExpectedVersion},
};
use tokio::{sync::oneshot, task::JoinError, time::Instant};

use super::{ApplyChange, MAILBOX, PresenceChange, PresenceSettings, tenant_presence::TenantPresence};
use crate::presence::presence_signals::{PresenceSignal, PresenceSignals};

/// How long it waits after an append failed; twice as long after each further one.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// It never waits longer than this.
const RETRY_AFTER_AT_MOST: Duration = Duration::from_secs(2);

/// How many readers wait for an append.
const MAX_ASKED: usize = 1_024;

/// The actor of one tenant's presence.
pub(super) struct PresenceActor {
    stream: StreamName,
    store: Arc<dyn EventStore>,
    ambient: Ambient,
    signals: PresenceSignals,
    tenant: TenantId,
    settings: PresenceSettings,
    state: TenantPresence,
    /// Kept while the state is not empty: the routing actor sees by it whom it can let go.
    busy: Option<Arc<()>>,
    /// A timer runs after which the changes are appended.
    will_append: bool,
    /// A timer runs after which the changes are signalled.
    will_signal: bool,
    /// A signal waits for room.
    is_signalling: bool,
    /// A timer runs after which the next grace ends.
    will_expire: bool,
    /// Who waits until everything is said; at the bound one more is answered at once.
    asked: Vec<oneshot::Sender<()>>,
    /// Who waits until nothing is left to say of these users, whatever there is of others.
    forgetting: Vec<(Vec<UserId>, oneshot::Sender<()>)>,
    /// Grows while the store fails; nothing while it does not.
    retry_after: Option<Duration>,
}

impl PresenceActor {
    /// Starts the actor on the caller's arbiter.
    pub(super) fn launch(
        tenant: &TenantId,
        store: Arc<dyn EventStore>,
        ambient: Ambient,
        signals: PresenceSignals,
        settings: PresenceSettings,
    ) -> Addr<Self> {
        let (stream, tenant) = (StreamName::presence(tenant), tenant.clone());
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self {
                stream,
                store,
                ambient,
                signals,
                tenant,
                settings,
                state: TenantPresence::default(),
                busy: None,
                will_append: false,
                will_signal: false,
                is_signalling: false,
                will_expire: false,
                asked: Vec::new(),
                forgetting: Vec::new(),
                retry_after: None,
            }
        })
    }

    /// Sees to it that a timer runs for whatever is left to do.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.state.is_empty() {
            self.busy = None;
            return;
        }
        if self.state.has_to_log() && !self.state.is_appending() {
            self.append_in(self.settings.batch, ctx);
        }
        if self.state.has_to_signal() && !self.is_signalling {
            self.signal_in(self.settings.batch, ctx);
        }
        let grace = self.settings.offline_grace;
        if let Some(wait) = self.state.next_expires_in(Instant::now(), grace)
            && !self.will_expire
        {
            self.will_expire = true;
            // Not more often than there are appends, or a storm of closes were a storm of timers.
            ctx.run_later(wait.max(self.settings.batch), move |actor, ctx| {
                actor.will_expire = false;
                actor.state.expire(Instant::now(), grace);
                actor.go_on(ctx);
            });
        }
    }

    fn answer(&mut self) {
        for reply in self.asked.drain(..) {
            // Whoever asked may have stopped waiting.
            let _gone = reply.send(());
        }
    }

    fn answer_forgotten(&mut self) {
        let state = &self.state;
        let waiting = self.forgetting.extract_if(.., |(users, reply)| {
            reply.is_closed() || users.iter().all(|user| state.is_settled(user))
        });
        for (_, reply) in waiting {
            let _gone = reply.send(());
        }
    }

    fn append_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if !self.will_append {
            self.will_append = true;
            ctx.run_later(wait, |actor, ctx| {
                actor.will_append = false;
                actor.append(ctx);
            });
        }
    }

    fn signal_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if !self.will_signal {
            self.will_signal = true;
            ctx.run_later(wait, |actor, ctx| {
                actor.will_signal = false;
                actor.signal(ctx);
            });
        }
    }

    fn signal(&mut self, ctx: &mut Context<Self>) {
        if self.is_signalling {
            return;
        }
        self.state.expire(Instant::now(), self.settings.offline_grace);
        let events = self.state.next_signal();
        if events.is_empty() {
            return self.signalled(ctx);
        }
        self.is_signalling = true;
        let (signals, tenant) = (self.signals.clone(), self.tenant.clone());
        let telling = async move { signals.tell(PresenceSignal { tenant, events }).await };
        ctx.spawn(telling.into_actor(self).map(|(), actor, ctx| {
            actor.is_signalling = false;
            actor.signalled(ctx);
        }));
    }

    fn signalled(&mut self, ctx: &mut Context<Self>) {
        self.answer_forgotten();
        self.answer_when_said();
        self.go_on(ctx);
    }

    /// Says now what would be said with the next batch.
    fn hurry(&mut self, ctx: &mut Context<Self>) {
        if self.state.has_to_signal() {
            self.signal(ctx);
        }
        if self.state.has_to_log() && !self.state.is_appending() && self.retry_after.is_none() {
            self.append(ctx);
        }
    }

    fn has_changes(&self) -> bool {
        self.state.has_to_log() || self.state.has_to_signal() || self.is_signalling
    }

    fn answer_when_said(&mut self) {
        if !self.has_changes() && !self.state.is_appending() {
            self.answer();
        }
    }

    fn append(&mut self, ctx: &mut Context<Self>) {
        if self.state.is_appending() {
            return;
        }
        // Who is not there any more by now does not come into the log.
        self.state.expire(Instant::now(), self.settings.offline_grace);
        let cause = EventCause { causation: "presence".into(), actor: "service:presence".into() };
        let Some(events) = self.state.next_append(&self.ambient, &cause) else {
            self.answer_forgotten();
            self.answer_when_said();
            return self.go_on(ctx);
        };
        let (store, stream) = (Arc::clone(&self.store), self.stream.clone());
        // A task of its own: a store that panics must not take with it who is connected.
        let work = actix::spawn(async move { store.append(stream, ExpectedVersion::Any, events).await });
        ctx.spawn(work.into_actor(self).map(|ended, actor, ctx| actor.appended(ended, ctx)));
    }

    fn appended(
        &mut self,
        ended: Result<Result<AppendReceipt, AppendError>, JoinError>,
        ctx: &mut Context<Self>,
    ) {
        let (may_exist, reason) = match ended {
            Ok(Ok(_)) => {
                self.state.appended();
                self.retry_after = None;
                self.answer_forgotten();
                self.answer_when_said();
                return self.go_on(ctx);
            }
            Ok(Err(error)) => (matches!(error, AppendError::Unavailable(_)), error.to_string()),
            Err(error) => (true, error.to_string()),
        };
        self.state.failed(may_exist);
        self.answer();
        let wait = match self.retry_after {
            Some(last) => (last * 2).min(RETRY_AFTER_AT_MOST),
            None => {
                tracing::warn!(stream = %self.stream, reason, "who is online waits for the store");
                RETRY_AFTER
            }
        };
        self.retry_after = Some(wait);
        self.append_in(wait, ctx);
    }
}

impl Actor for PresenceActor {
    type Context = Context<Self>;
}

impl Handler<ApplyChange> for PresenceActor {
    type Result = ();

    fn handle(&mut self, step: ApplyChange, ctx: &mut Self::Context) {
        match step.change {
            PresenceChange::Enter(connection, visitor) => {
                self.state.enter(connection, *visitor, self.ambient.now())
            }
            PresenceChange::Leave(connection) => self.state.leave(connection, Instant::now()),
            PresenceChange::Wrote(session) => {
                self.state.wrote(&session);
                self.hurry(ctx);
            }
            PresenceChange::Proven(user) => self.state.displace(&user, self.ambient.now()),
            PresenceChange::Hurry => self.hurry(ctx),
            PresenceChange::Ask(reply) => self.asked.push(reply),
            PresenceChange::Forget(whom, reply) => {
                self.forgetting.push((self.state.forget(&whom), reply));
                self.answer_forgotten();
            }
        }
        if self.asked.len() > MAX_ASKED {
            self.answer();
        }
        self.answer_when_said();
        self.busy = Some(step.busy);
        self.go_on(ctx);
        drop(step.room);
    }
}
