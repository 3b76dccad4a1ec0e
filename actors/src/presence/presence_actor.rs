//! The actor of one tenant's presence: it reconciles who is connected with what was announced.
//!
//! The router of [`crate::presence`] starts it. It never holds its mailbox: while an append is underway it still counts
//! connections. One append is underway at a time. Changes within `batch` become one append; what does not fit waits for
//! the next one, so that a crowd does not fill the send queues of those who watch. When the store refuses, the actor tries
//! again with the difference at that time. Signals are sent the same way but need no store: one is underway at a time,
//! and the next one announces what is pending by then. Three timers are enough for any number of users.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    Ambient, EventLog, StreamName, TenantId, UserId,
    event::EventCause,
    store::{AppendError, AppendReceipt, ExpectedVersion},
};
use tokio::{sync::oneshot, task::JoinError, time::Instant};

use super::{ApplyChange, MAILBOX, PresenceChange, PresenceSettings, tenant_presence::TenantPresence};
use crate::presence::{online_tables::PresenceSignal, presence_signals::PresenceSignals};

/// How long it waits after an append failed; twice as long after each further one.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// It never waits longer than this.
const RETRY_AFTER_AT_MOST: Duration = Duration::from_secs(2);

/// How many readers may wait for announcements.
const MAX_WAITING: usize = 1_024;

/// The actor of one tenant's presence.
pub(super) struct PresenceActor {
    stream: StreamName,
    store: Arc<dyn EventLog>,
    ambient: Ambient,
    signals: PresenceSignals,
    tenant: TenantId,
    settings: PresenceSettings,
    state: TenantPresence,
    /// Kept while the state is not empty, so that the router does not drop the actor.
    busy: Option<Arc<()>>,
    /// A timer for the next append runs.
    will_append: bool,
    /// A timer for the next signal runs.
    will_signal: bool,
    /// A signal is being sent.
    is_signalling: bool,
    /// A timer for the end of the next grace period runs.
    will_expire: bool,
    /// Readers who wait until everything is announced. Beyond the bound all are answered at once.
    waiting: Vec<oneshot::Sender<()>>,
    /// Erasures that wait until nothing about these users is pending.
    forgetting: Vec<(Vec<UserId>, oneshot::Sender<()>)>,
    /// The wait before the next try; it grows while the store fails.
    retry_after: Option<Duration>,
}

impl PresenceActor {
    /// Starts the actor on the caller's arbiter.
    pub(super) fn launch(
        tenant: &TenantId,
        store: Arc<dyn EventLog>,
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
                waiting: Vec::new(),
                forgetting: Vec::new(),
                retry_after: None,
            }
        })
    }

    /// Starts the timers for what is left to do.
    fn schedule(&mut self, ctx: &mut Context<Self>) {
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
            // Not more often than appends, or many closes would cause as many timers.
            ctx.run_later(wait.max(self.settings.batch), move |actor, ctx| {
                actor.will_expire = false;
                actor.state.expire(Instant::now(), grace);
                actor.schedule(ctx);
            });
        }
    }

    fn answer_waiting(&mut self) {
        for reply in self.waiting.drain(..) {
            // The reader may have stopped waiting.
            let _gone = reply.send(());
        }
    }

    fn answer_forgotten(&mut self) {
        let state = &self.state;
        let forgotten = self.forgetting.extract_if(.., |(users, reply)| {
            reply.is_closed() || users.iter().all(|user| state.is_settled(user))
        });
        for (_, reply) in forgotten {
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
        let sending = async move { signals.send(PresenceSignal { tenant, events }).await };
        ctx.spawn(sending.into_actor(self).map(|(), actor, ctx| {
            actor.is_signalling = false;
            actor.signalled(ctx);
        }));
    }

    fn signalled(&mut self, ctx: &mut Context<Self>) {
        self.answer_forgotten();
        self.answer_when_announced();
        self.schedule(ctx);
    }

    /// Announces now what would be announced with the next batch.
    fn flush(&mut self, ctx: &mut Context<Self>) {
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

    fn answer_when_announced(&mut self) {
        if !self.has_changes() && !self.state.is_appending() {
            self.answer_waiting();
        }
    }

    fn append(&mut self, ctx: &mut Context<Self>) {
        if self.state.is_appending() {
            return;
        }
        // A visitor who is gone by now is not announced.
        self.state.expire(Instant::now(), self.settings.offline_grace);
        let cause = EventCause { causation: "presence".into(), actor: "service:presence".into() };
        let Some(events) = self.state.next_append(&self.ambient, &cause, self.signals.node().as_ref()) else {
            self.answer_forgotten();
            self.answer_when_announced();
            return self.schedule(ctx);
        };
        let (store, stream) = (Arc::clone(&self.store), self.stream.clone());
        // A task of its own: a store that panics must not end this actor, which knows the connections.
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
                self.answer_when_announced();
                return self.schedule(ctx);
            }
            Ok(Err(error)) => (matches!(error, AppendError::Unavailable(_)), error.to_string()),
            Err(error) => (true, error.to_string()),
        };
        self.state.failed(may_exist);
        self.answer_waiting();
        let wait = match self.retry_after {
            Some(last) => (last * 2).min(RETRY_AFTER_AT_MOST),
            None => {
                tracing::warn!(stream = %self.stream, reason, "presence waits for the store");
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
            PresenceChange::Identify(connection, visitor) => {
                self.state.identify(connection, *visitor, self.ambient.now())
            }
            PresenceChange::Close(connection) => self.state.close(connection, Instant::now()),
            PresenceChange::Wrote(session) => {
                self.state.wrote(&session);
                self.flush(ctx);
            }
            PresenceChange::Rejoined => self.state.rejoined(),
            PresenceChange::Proven(user) => self.state.rename_claimants(&user, self.ambient.now()),
            PresenceChange::Flush => self.flush(ctx),
            PresenceChange::Await(reply) => self.waiting.push(reply),
            PresenceChange::Forget(target, reply) => {
                self.forgetting.push((self.state.forget(&target), reply));
                self.answer_forgotten();
            }
        }
        if self.waiting.len() > MAX_WAITING {
            self.answer_waiting();
        }
        self.answer_when_announced();
        self.busy = Some(step.busy);
        self.schedule(ctx);
        drop(step.permit);
    }
}
