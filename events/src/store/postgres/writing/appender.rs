//! The one connection over which a node appends and removes. While a call is underway everything else waits and then goes
//! in one call, so a busy node makes few, large ones: the lock of the log is held until a commit is flushed and the
//! standby has it, and more connections would only wait for each other.
//!
//! While the database takes none, an empty call asks every second whether it does again.
//!
//! A call that gets no answer may have been carried out. It is made again with the same ids, on a new connection, until
//! the deadlines of its appends; the log recognises what it has. One append that the database refuses does not fail the
//! others of its call: each is tried by itself then.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    StreamName, Version,
    postgres::{CallFailure, DatabaseSession, Parameter, SchemaName, SessionMaker, timing},
    store::{
        AppendError, StoreMeter,
        postgres::{
            history::known_end::KnownEnd,
            reading::event_rows::number,
            store_condition::StoreCondition,
            writing::{
                append_group::{AppendGroup, AppendOutcome, GroupValues, WaitingAppend},
                log_change::{DecidedGroup, LogChange},
            },
        },
    },
};

/// How many events a call removes.
const REMOVE_STEP: i64 = 1_000;

/// Work for the appender.
pub(in crate::store::postgres) enum AppenderWork {
    Append(WaitingAppend),
    Confirm(WaitingConfirmation),
    Remove(WaitingRemoval),
}

/// Somebody who waits until the standby has what is stored.
pub(in crate::store::postgres) struct WaitingConfirmation {
    /// Until when it is tried.
    pub(in crate::store::postgres) deadline: Instant,
    pub(in crate::store::postgres) reply: oneshot::Sender<Result<(), AppendError>>,
}

/// A removal that waits.
pub(in crate::store::postgres) struct WaitingRemoval {
    pub(in crate::store::postgres) stream: StreamName,
    /// The first version that stays; nothing removes the stream.
    pub(in crate::store::postgres) before: Option<Version>,
    /// Until when its next step is tried.
    pub(in crate::store::postgres) deadline: Instant,
    pub(in crate::store::postgres) reply: oneshot::Sender<Result<(), AppendError>>,
}

/// Appends and removes, one call after the other.
pub(in crate::store::postgres) struct GroupAppender {
    pub(in crate::store::postgres) queue: mpsc::Receiver<AppenderWork>,
    /// Who hears what was changed, in order.
    pub(in crate::store::postgres) changes: mpsc::Sender<LogChange>,
    pub(in crate::store::postgres) sessions: SessionMaker,
    pub(in crate::store::postgres) session: Option<DatabaseSession>,
    pub(in crate::store::postgres) known: Arc<KnownEnd>,
    pub(in crate::store::postgres) condition: Arc<StoreCondition>,
    pub(in crate::store::postgres) meter: Arc<StoreMeter>,
    pub(in crate::store::postgres) calls: WriteCalls,
    /// Those who wait until the standby has what is stored.
    pub(in crate::store::postgres) confirmations: Vec<WaitingConfirmation>,
    /// Removals that go on between appends, a step at a time.
    pub(in crate::store::postgres) removals: VecDeque<WaitingRemoval>,
}

/// The texts of the calls that write, and what they allow.
pub(in crate::store::postgres) struct WriteCalls {
    append: Arc<str>,
    remove: Arc<str>,
    /// Whether the server may answer before a commit is safe.
    may_be_lost: bool,
}

impl WriteCalls {
    pub(in crate::store::postgres) fn new(schema: &SchemaName, may_be_lost: bool) -> Self {
        Self {
            append: schema.statement(GroupValues::CALL),
            remove: schema.statement("CALL {schema}.remove($1, $2, $3, NULL)"),
            may_be_lost,
        }
    }
}

impl GroupAppender {
    /// Works until the store is closed and everything before that is done.
    pub(in crate::store::postgres) async fn run(mut self) {
        loop {
            let next = if self.removals.is_empty() { self.next().await } else { self.queue.try_recv().ok() };
            let mut group = AppendGroup::default();
            match next {
                Some(AppenderWork::Append(append)) => self.fill(&mut group, append),
                Some(AppenderWork::Confirm(confirmation)) => self.confirmations.push(confirmation),
                Some(AppenderWork::Remove(removal)) => self.removals.push_back(removal),
                None if self.removals.is_empty() => return,
                None => {}
            }
            self.append(group).await;
            self.confirm().await;
            if let Some(removal) = self.removals.pop_front() {
                self.remove_step(removal).await;
            }
        }
    }

    /// Waits for work; meanwhile asks a database that took no append whether it does.
    async fn next(&mut self) -> Option<AppenderWork> {
        loop {
            if !self.condition.is_failing() {
                return self.queue.recv().await;
            }
            if let Ok(next) = timeout(timing::PROBE, self.queue.recv()).await {
                return next;
            }
            match self.call_append(&AppendGroup::default()).await {
                Ok(_none) => self.condition.works(),
                Err(failure) => self.condition.fails(&failure),
            }
        }
    }

    /// Confirms what is stored, to everybody who waits for it: an append of nothing waits for the standby.
    async fn confirm(&mut self) {
        while !self.confirmations.is_empty() {
            let confirmed = self.call_append(&AppendGroup::default()).await;
            let waiting = std::mem::take(&mut self.confirmations);
            match confirmed {
                Ok(_none) => {
                    self.condition.works();
                    waiting.into_iter().for_each(|confirmation| drop(confirmation.reply.send(Ok(()))));
                }
                Err(failure) => {
                    let is_final = matches!(failure, CallFailure::Refused(_) | CallFailure::OtherHistory(_));
                    let now = Instant::now();
                    for confirmation in waiting {
                        if is_final || confirmation.deadline <= now {
                            drop(confirmation.reply.send(Err(failure.clone().into())));
                        } else {
                            self.confirmations.push(confirmation);
                        }
                    }
                    self.wait_after(&failure).await;
                }
            }
        }
    }

    /// Adds what waits, up to the first removal.
    fn fill(&mut self, group: &mut AppendGroup, first: WaitingAppend) {
        group.push(first);
        while group.has_room() {
            match self.queue.try_recv() {
                Ok(AppenderWork::Append(append)) => group.push(append),
                Ok(AppenderWork::Confirm(confirmation)) => self.confirmations.push(confirmation),
                Ok(AppenderWork::Remove(removal)) => {
                    self.removals.push_back(removal);
                    return;
                }
                Err(_none) => return,
            }
        }
    }

    async fn append(&mut self, group: AppendGroup) {
        let mut groups = VecDeque::from([group]);
        while let Some(group) = groups.pop_front() {
            if let Some(refused) = self.try_append(group).await {
                groups.extend(refused.split());
            }
        }
    }

    /// Appends a group, or says why not; gives it back when one append of several may be to blame.
    async fn try_append(&mut self, mut group: AppendGroup) -> Option<AppendGroup> {
        let mut failure = CallFailure::silent();
        loop {
            let expired = group.take_expired(Instant::now());
            if !expired.is_empty() {
                self.tell(expired.fail(&failure.clone().into())).await;
            }
            if group.is_empty() {
                return None;
            }
            failure = match self.call_append(&group).await {
                Ok(outcomes) => {
                    self.condition.works();
                    self.tell(group.decide(&outcomes)).await;
                    return None;
                }
                Err(CallFailure::Refused(_)) if group.len() > 1 => return Some(group),
                Err(failure @ (CallFailure::Refused(_) | CallFailure::OtherHistory(_))) => {
                    self.condition.fails(&failure);
                    self.tell(group.fail(&failure.into())).await;
                    return None;
                }
                Err(failure) => failure,
            };
            self.wait_after(&failure).await;
        }
    }

    async fn call_append(&mut self, group: &AppendGroup) -> Result<Vec<AppendOutcome>, CallFailure> {
        let (values, end, may_be_lost) = (group.values(), self.known.values(), self.calls.may_be_lost);
        let started = Instant::now();
        let call = Arc::clone(&self.calls.append);
        let answered = self.call(&call, &values.parameters(&may_be_lost, &end)).await;
        self.meter.took(started.elapsed());
        let rows = answered?;
        let outcomes = rows.first().map(AppendOutcome::decode).transpose()?.unwrap_or_default();
        if outcomes.len() == group.len() {
            Ok(outcomes)
        } else {
            Err(CallFailure::Refused("the database answered another number of appends".to_owned()))
        }
    }

    /// Makes a call on the session, or on a new one when that is gone.
    async fn call(
        &mut self,
        text: &Arc<str>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, CallFailure> {
        let mut session = match self.session.take().filter(DatabaseSession::is_usable) {
            Some(session) => session,
            None => self.sessions.connect().await?.without_time_limit().await?,
        };
        self.condition.begins();
        let answered = session.query(text, parameters, timing::WRITE_CALL).await;
        self.condition.ends();
        if session.was_unreplicated() {
            // The commit is on one machine only; the same call waits for the standby again.
            return Err(CallFailure::Broken("the wait for the standby was ended".to_owned()));
        }
        if !matches!(answered, Err(CallFailure::Broken(_))) {
            self.session = Some(session);
        }
        answered
    }

    /// Removes the oldest events of a stream, and comes back for the rest.
    async fn remove_step(&mut self, mut removal: WaitingRemoval) {
        let name = removal.stream.as_str().to_owned();
        let before = removal.before.map(|before| number(before.as_u64()));
        let call = Arc::clone(&self.calls.remove);
        let removed = self.call(&call, &[&name, &before, &REMOVE_STEP]).await;
        let removed = removed.and_then(|rows| {
            let has_more = rows.first().map(|row| row.try_get::<_, bool>(0)).transpose()?;
            Ok(has_more.unwrap_or_default())
        });
        match removed {
            Ok(true) => {
                self.condition.works();
                removal.deadline = Instant::now() + timing::APPEND;
                self.removals.push_back(removal);
            }
            Ok(false) => {
                self.condition.works();
                self.send(LogChange::Removed(removal.reply)).await;
            }
            Err(failure @ (CallFailure::Broken(_) | CallFailure::Postponed(_)))
                if removal.deadline > Instant::now() =>
            {
                self.wait_after(&failure).await;
                self.removals.push_front(removal);
            }
            Err(failure) => {
                self.condition.fails(&failure);
                // Whoever asked may have gone.
                drop(removal.reply.send(Err(failure.into())));
            }
        }
    }

    async fn wait_after(&self, failure: &CallFailure) {
        self.condition.fails(failure);
        tokio::time::sleep(timing::RETRY).await;
    }

    async fn tell(&self, decided: DecidedGroup) {
        decided.appends.iter().for_each(|append| self.meter.answered(&append.answer));
        if !decided.events.is_empty() {
            self.meter.committed(decided.events.len());
        }
        self.send(LogChange::Appended(decided)).await;
    }

    async fn send(&self, change: LogChange) {
        if self.changes.send(change).await.is_err() {
            tracing::error!("nobody hears what was appended to the log");
        }
    }
}
