//! Runs a projection: from its checkpoint to the end of the log, then behind every append.
//!
//! The checkpoint is stored in the transaction that folds the events, so an event is folded once even
//! when the process dies in between. A projection whose version or epoch is not the current one
//! begins again from nothing. When the database refuses, the projector tries again; when an event
//! cannot be read, it says which and does not pass it.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{
    EventStore, Position, RecordedEvent,
    store::{Batch, Epoch, Subscription},
};
use rusqlite::Transaction;
use tokio::sync::watch;

use crate::{
    database::DatabaseError,
    views::{self, Checkpoint, ViewError, Views},
};

/// How long it waits after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A fold of the log into tables.
pub trait Projection: Send + Sync + 'static {
    /// Its name, as operators use it.
    const NAME: &'static str;

    /// Changes with the tables or the fold: the tables are filled again then.
    const VERSION: u32;

    /// Makes its tables, empty.
    ///
    /// # Errors
    /// When the database refuses.
    fn reset(transaction: &Transaction<'_>) -> Result<(), ViewError>;

    /// Folds events in. The caller sees to it that each comes once.
    ///
    /// # Errors
    /// When the database refuses or an event cannot be read; the transaction is rolled back then.
    fn fold(transaction: &Transaction<'_>, events: &[RecordedEvent]) -> Result<(), ViewError>;
}

/// How far a projection has come, for readers that wait.
#[derive(Clone)]
pub struct Progress(watch::Receiver<Standing>);

/// The other end of a [`Progress`], in the hands of who runs the projection.
#[derive(Clone)]
pub(crate) struct Reporter(watch::Sender<Standing>);

/// Where a projection is, and why it does not go on.
#[derive(Debug, Clone, Default)]
struct Standing {
    position: Position,
    /// What the last attempt met; nothing once an attempt succeeds.
    failure: Option<String>,
}

impl Reporter {
    /// Everything up to here is folded in.
    pub(crate) fn reached(&self, position: Position) {
        self.0.send_replace(Standing { position, failure: None });
    }

    /// It does not follow the log, because of this.
    pub(crate) fn failed(&self, error: &ViewError) {
        self.0.send_modify(|standing| standing.failure = Some(error.to_string()));
    }
}

impl Progress {
    /// One that begins before the log, and its other end.
    pub(crate) fn new() -> (Reporter, Self) {
        let (reporter, progress) = watch::channel(Standing::default());
        (Reporter(reporter), Self(progress))
    }

    /// Everything up to here is folded in.
    #[must_use]
    pub fn position(&self) -> Position {
        self.0.borrow().position
    }

    /// Why it does not follow the log at the moment.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.borrow().failure.clone()
    }

    /// Waits until everything up to `position` is folded in.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when that takes longer than `patience`.
    pub async fn reach(&self, position: Position, patience: Duration) -> Result<(), ViewError> {
        let mut progress = self.0.clone();
        let reached = progress.wait_for(|now| now.position >= position);
        match tokio::time::timeout(patience, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ViewError::Behind),
        }
    }
}

/// The actor that runs one projection.
pub struct Projector<P> {
    views: Views,
    store: Arc<dyn EventStore>,
    progress: Reporter,
    projection: std::marker::PhantomData<fn() -> P>,
}

impl<P: Projection> Projector<P> {
    /// Starts the projection on the caller's arbiter.
    #[must_use]
    pub fn start(views: &Views, store: &Arc<dyn EventStore>) -> Progress {
        let (progress, follower) = Progress::new();
        let (views, store) = (views.clone(), Arc::clone(store));
        let projector = Self { views, store, progress, projection: std::marker::PhantomData };
        Actor::start(projector);
        follower
    }
}

impl<P: Projection> Actor for Projector<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let run = Run::<P> {
            views: self.views.clone(),
            epoch: self.store.epoch(),
            progress: self.progress.clone(),
            projection: std::marker::PhantomData,
        };
        let store = Arc::clone(&self.store);
        // The log's end ends the subscription: that is the service stopping.
        ctx.spawn(run.follow(store).into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// The work of a projector.
struct Run<P> {
    views: Views,
    epoch: Epoch,
    progress: Reporter,
    projection: std::marker::PhantomData<fn() -> P>,
}

impl<P: Projection> Run<P> {
    async fn follow(self, store: Arc<dyn EventStore>) {
        let start = loop {
            match self.begin().await {
                Ok(position) => break position,
                Err(error) => self.pause(&error).await,
            }
        };
        self.progress.reached(start);
        let mut subscription = store.subscribe(start);
        loop {
            match next(&mut subscription).await {
                Ok(Some(batch)) => self.fold(batch).await,
                Ok(None) => return,
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Where to go on from; makes the tables when they are missing or of another time.
    async fn begin(&self) -> Result<Position, ViewError> {
        let epoch = self.epoch;
        let begin = move |transaction: &Transaction<'_>| {
            let found = views::checkpoint(transaction, P::NAME)?;
            if let Some(checkpoint) = found
                && checkpoint.version == P::VERSION
                && checkpoint.epoch == epoch
            {
                return Ok(checkpoint.position);
            }
            tracing::info!(projection = P::NAME, "the projection is made from the whole log");
            P::reset(transaction)?;
            let fresh = Checkpoint { version: P::VERSION, epoch, position: Position::START };
            views::set_checkpoint(transaction, P::NAME, fresh)?;
            Ok(Position::START)
        };
        self.views.write(begin).await
    }

    /// Folds a batch in, however often that has to be tried.
    async fn fold(&self, batch: Batch) {
        let Some(position) = batch.last().map(|event| event.position) else { return };
        let checkpoint = Checkpoint { version: P::VERSION, epoch: self.epoch, position };
        loop {
            let events = Arc::clone(&batch);
            let fold = move |transaction: &Transaction<'_>| {
                P::fold(transaction, &events)?;
                views::set_checkpoint(transaction, P::NAME, checkpoint)
            };
            match self.views.write(fold).await {
                Ok(()) => break,
                Err(ViewError::Database(DatabaseError::Closed)) => return,
                Err(error) => self.pause(&error).await,
            }
        }
        self.progress.reached(position);
    }

    async fn pause(&self, error: &ViewError) {
        tracing::error!(projection = P::NAME, %error, "the projection waits and tries again");
        self.progress.failed(error);
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn next(subscription: &mut Subscription) -> Result<Option<Batch>, ViewError> {
    Ok(subscription.next().await?)
}
