//! The work of a projector: it follows the log with the tables that serve, and fills new ones when an operator asks for it
//! or when those that serve cannot be kept.
//!
//! Following, filling and removing retired tables are futures of one loop and run side by side. The switch to new tables
//! is in the loop itself, so nothing is folded into the old tables while it happens.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use amoiq_events::{
    EventLog, Position,
    store::{Epoch, EventBatch},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    database::DatabaseError,
    projections::{
        gathered_log::GatheredLog,
        projection::{ProgressReporter, Projection, ViewDamage, fold},
        rebuild::{
            self, FilledGeneration, RebuildControl, RebuildError, RebuildOutcome, RebuildReport,
            RebuildReporter, RebuildUnderway,
        },
        view_error::ViewError,
        view_generation::ViewGeneration,
        view_store::ViewStore,
    },
};

/// How long it waits after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long it waits after a failed rebuild: at first, and at most.
const REBUILD_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// A log of at most so many events, such as that of a new store, is read so quickly that nothing is logged about it.
const SHORT_LOG: u64 = 1_000;

/// How long it waits after retired tables could not be removed.
const SWEEP_AFTER: Duration = Duration::from_secs(60);

type Sweeping = Pin<Box<dyn Future<Output = ()>>>;

type Filling<P> = Pin<Box<dyn Future<Output = Result<FilledGeneration<P>, RebuildError>>>>;

/// A projector's work.
pub(super) struct ProjectorLoop<P> {
    live: LiveProjection<P>,
    damages: mpsc::Receiver<ViewDamage>,
    commands: mpsc::Receiver<RebuildControl>,
    reports: watch::Sender<RebuildReport>,
    /// The rebuild that runs. Dropping it cancels it.
    filling: Option<Filling<P>>,
    /// Removes retired tables. Never beside a rebuild, whose new tables it would remove; a rebuild starts with it.
    sweeping: Option<Sweeping>,
    /// When it may start a rebuild itself; `None` after an operator or an event ended one, until new damage is found.
    may_fill: Option<Instant>,
    fill_pause: Duration,
    /// A row of the tables that serve is damaged.
    is_damaged: bool,
    /// An operator or damage caused the rebuild, not a new store.
    is_requested: bool,
}

/// The part that follows the log.
struct LiveProjection<P> {
    views: ViewStore,
    store: Arc<dyn EventLog>,
    epoch: Epoch,
    progress: ProgressReporter,
    projection: std::marker::PhantomData<fn() -> P>,
}

/// Why following the log ended.
enum FollowEnd {
    /// The log is closed.
    Ended,
    /// Another generation serves than before.
    Moved,
    /// New tables have to be filled.
    FillWanted,
}

enum ProjectorEvent<P> {
    Control(RebuildControl),
    Damage(ViewDamage),
    Filled(Result<FilledGeneration<P>, RebuildError>),
    Swept,
    Stopped(Result<FollowEnd, ViewError>),
}

impl<P: Projection> ProjectorLoop<P> {
    pub(super) fn new(
        views: ViewStore,
        store: Arc<dyn EventLog>,
        progress: ProgressReporter,
        damages: mpsc::Receiver<ViewDamage>,
        (commands, reports): (mpsc::Receiver<RebuildControl>, RebuildReporter),
    ) -> Self {
        let epoch = store.epoch();
        let live = LiveProjection { views, store, epoch, progress, projection: std::marker::PhantomData };
        let (may_fill, fill_pause) = (Some(Instant::now()), REBUILD_AFTER[0]);
        let (filling, sweeping, is_damaged, is_requested) = (None, None, false, false);
        Self {
            live,
            damages,
            commands,
            reports,
            filling,
            sweeping,
            may_fill,
            fill_pause,
            is_damaged,
            is_requested,
        }
    }

    pub(super) async fn run(mut self) {
        self.sweep();
        let mut pause = Duration::ZERO;
        loop {
            let wanted = if self.filling.is_none() { self.may_fill } else { None };
            let event = tokio::select! {
                biased;
                Some(command) = self.commands.recv() => ProjectorEvent::Control(command),
                Some(damage) = self.damages.recv() => ProjectorEvent::Damage(damage),
                filled = end(&mut self.filling) => ProjectorEvent::Filled(filled),
                () = end(&mut self.sweeping) => ProjectorEvent::Swept,
                stop = self.live.follow(pause, wanted, self.is_damaged) => ProjectorEvent::Stopped(stop),
            };
            pause = Duration::ZERO;
            match event {
                ProjectorEvent::Control(command) => self.execute(command),
                ProjectorEvent::Damage(damage) => self.repair(damage).await,
                ProjectorEvent::Filled(filled) => self.filled(filled).await,
                ProjectorEvent::Swept => self.sweeping = None,
                ProjectorEvent::Stopped(Ok(FollowEnd::Ended)) => return,
                ProjectorEvent::Stopped(Ok(FollowEnd::Moved)) => {}
                ProjectorEvent::Stopped(Ok(FollowEnd::FillWanted)) => {
                    if self.is_worth_logging() {
                        tracing::info!(projection = P::NAME, "the projection is rebuilt from the whole log");
                    }
                    self.fill(None);
                }
                ProjectorEvent::Stopped(Err(ViewError::Database(DatabaseError::Closed))) => {
                    return self.lost();
                }
                ProjectorEvent::Stopped(Err(error)) => {
                    tracing::error!(projection = P::NAME, %error, "the projection waits and tries again");
                    self.live.progress.failed(&error);
                    pause = RETRY_AFTER;
                    if let Some(damage) = ViewDamage::of(&error) {
                        self.repair(damage).await;
                    }
                }
            }
        }
    }

    /// Its own handle keeps the database's threads running, so a thread that ended has panicked.
    fn lost(&self) {
        let what = "a thread of views.db ended: start the service again";
        tracing::error!(projection = P::NAME, "the projection stopped: {what}");
        self.live.progress.failed(&what);
    }

    fn fill(&mut self, skip: Option<amoiq_events::Timestamp>) {
        self.sweeping = None;
        self.reports.send_replace(RebuildReport::started(self.live.store.head()));
        let (views, store) = (self.live.views.clone(), Arc::clone(&self.live.store));
        self.filling = Some(Box::pin(rebuild::fill(views, store, skip, self.reports.clone())));
    }

    fn execute(&mut self, command: RebuildControl) {
        match command {
            RebuildControl::Start { skip, reply } => {
                let is_underway = self.filling.is_some();
                self.is_requested = true;
                if !is_underway {
                    self.fill(skip);
                }
                // The caller may have stopped waiting.
                let _gone = reply.send(if is_underway { Err(RebuildUnderway) } else { Ok(()) });
            }
            RebuildControl::Cancel { reply } => {
                let was_underway = self.filling.take().is_some();
                if was_underway {
                    self.may_fill = None;
                    self.end_report(RebuildOutcome::Cancelled);
                    self.sweep();
                }
                let _gone = reply.send(was_underway);
            }
        }
    }

    /// Has damaged tables rebuilt.
    async fn repair(&mut self, damage: ViewDamage) {
        match damage {
            // A second row changes nothing: what ended the rebuild for the first one would end another.
            ViewDamage::Row if self.is_damaged => return,
            ViewDamage::Row => self.is_damaged = true,
            ViewDamage::File => {
                self.filling = None;
                self.live.progress.filling();
                tracing::error!(projection = P::NAME, "views.db is damaged; it is built again from the log");
                if let Err(error) = self.live.views.replace().await {
                    tracing::error!(%error, "views.db cannot be replaced");
                }
            }
        }
        self.is_requested = true;
        self.may_fill.get_or_insert_with(Instant::now);
    }

    /// Whether operators should read of a rebuild in the service's log.
    fn is_worth_logging(&self) -> bool {
        self.is_requested || self.live.store.events_after(Position::START) > SHORT_LOG
    }

    async fn filled(&mut self, filled: Result<FilledGeneration<P>, RebuildError>) {
        self.filling = None;
        let live = &self.live;
        let switched = match filled {
            Ok(filled) => filled.serve(&live.views, &*live.store).await.map_err(RebuildError::from),
            Err(error) => Err(error),
        };
        let outcome = match switched {
            Ok(position) => {
                live.progress.reached(position);
                (self.is_damaged, self.may_fill) = (false, Some(Instant::now()));
                self.fill_pause = REBUILD_AFTER[0];
                if self.is_worth_logging() {
                    tracing::info!(projection = P::NAME, %position, "the projection was rebuilt and serves");
                }
                RebuildOutcome::Done
            }
            Err(error) => {
                tracing::error!(projection = P::NAME, %error, "the projection was not rebuilt");
                self.live.progress.not_filled(&format_args!("the rebuild failed: {error}"));
                let may_pass = matches!(error, RebuildError::View(_));
                self.may_fill = may_pass.then(|| Instant::now() + self.fill_pause);
                self.fill_pause = REBUILD_AFTER[1].min(self.fill_pause * 2);
                if let RebuildError::View(error) = &error
                    && ViewDamage::of(error) == Some(ViewDamage::File)
                {
                    self.repair(ViewDamage::File).await;
                }
                RebuildOutcome::of(&error)
            }
        };
        self.sweep();
        self.end_report(outcome);
    }

    fn end_report(&self, outcome: RebuildOutcome) {
        self.reports.send_modify(|report| report.outcome = Some(outcome));
    }

    fn sweep(&mut self) {
        let views = self.live.views.clone();
        self.sweeping = Some(Box::pin(async move {
            while let Err(error) = rebuild::sweep::<P>(&views).await {
                tracing::warn!(projection = P::NAME, %error, "retired tables stay in views.db; trying again");
                tokio::time::sleep(SWEEP_AFTER).await;
            }
        }));
    }
}

impl<P: Projection> LiveProjection<P> {
    /// Follows the log with the tables that serve, until something stops it. It may be dropped at any time: the next call
    /// starts from what the database then contains.
    async fn follow(
        &self,
        pause: Duration,
        wanted: Option<Instant>,
        is_damaged: bool,
    ) -> Result<FollowEnd, ViewError> {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let serving = self.serving().await?;
        let is_current = |serving: ViewGeneration| serving.tables.version() == P::VERSION && !is_damaged;
        let wanted = wanted.filter(|_| !serving.is_some_and(is_current));
        let want = async {
            match wanted {
                Some(at) => tokio::time::sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = want => Ok(FollowEnd::FillWanted),
            stop = self.fold_on(serving) => stop,
        }
    }

    /// The generation that serves. One that cannot be right is retired.
    async fn serving(&self) -> Result<Option<ViewGeneration>, ViewError> {
        let (epoch, head) = (self.epoch, self.store.head());
        let serving = self.views.write(move |transaction| {
            let Some(serving) = ViewGeneration::serving(transaction, P::NAME)? else { return Ok(None) };
            let version = serving.tables.version();
            // Tables that are ahead hold events that the log lost just before this node was to note them.
            let is_of_log = serving.epoch == epoch && serving.position <= head;
            if is_of_log && (version == P::VERSION || P::STILL_SERVES.contains(&version)) {
                return Ok(Some(serving));
            }
            ViewGeneration::retire::<P>(transaction)?;
            Ok(None)
        });
        serving.await
    }

    async fn fold_on(&self, serving: Option<ViewGeneration>) -> Result<FollowEnd, ViewError> {
        let Some(mut serving) = serving else {
            self.progress.filling();
            return pending().await;
        };
        self.progress.serves(serving.position);
        let mut batches = GatheredLog::new(self.store.subscribe(serving.position), self.progress.clone());
        loop {
            let parts = batches.next().await?;
            if parts.is_empty() {
                return Ok(FollowEnd::Ended);
            }
            match self.fold_all(serving, parts).await? {
                Some(next) => serving = next,
                None => return Ok(FollowEnd::Moved),
            }
        }
    }

    /// Folds what was gathered in one transaction. If that fails, each part in its own, so that the projection stops only at
    /// what cannot be folded; `None` when another generation serves by now.
    async fn fold_all(
        &self,
        mut serving: ViewGeneration,
        parts: Vec<EventBatch>,
    ) -> Result<Option<ViewGeneration>, ViewError> {
        let folded = self.fold(serving, parts.clone()).await;
        if folded.is_ok() || parts.len() == 1 {
            return folded;
        }
        for part in parts {
            match self.fold(serving, vec![part]).await? {
                Some(next) => serving = next,
                None => return Ok(None),
            }
        }
        Ok(Some(serving))
    }

    /// Folds parts of the log into the tables that serve; `None` when another generation serves by now.
    async fn fold(
        &self,
        serving: ViewGeneration,
        parts: Vec<EventBatch>,
    ) -> Result<Option<ViewGeneration>, ViewError> {
        let position = parts.last().map_or(serving.position, |part| part.upto);
        let skipped = self.views.letters().skipped_by(P::NAME);
        let fold = self.views.write(move |transaction| {
            if ViewGeneration::serving(transaction, P::NAME)? != Some(serving) {
                return Ok(None);
            }
            let mut changes = P::default();
            let events = parts.iter().flat_map(|part| part.events.iter());
            fold(&mut changes, transaction, serving.tables, events, &skipped)?;
            changes.store(transaction, serving.tables)?;
            serving.advance(transaction, P::NAME, position).map(Some)
        });
        let folded = fold.await?;
        if let Some(next) = folded {
            self.progress.reached(next.position);
        }
        Ok(folded)
    }
}

/// Waits for work that is underway; for ever when there is none.
async fn end<F: Future + Unpin>(underway: &mut Option<F>) -> F::Output {
    match underway {
        Some(work) => work.await,
        None => pending().await,
    }
}
