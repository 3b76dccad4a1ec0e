//! Runs a projection: from its checkpoint to the end of the log, then behind every append.
//!
//! The checkpoint is stored in the transaction that folds the events, so an event is folded once even
//! when the process dies in between. When the database refuses, the projector tries again; when an event
//! cannot be read, it says which and does not pass it, unless an operator let it pass
//! ([`crate::dead_letters`]).
//!
//! A projection whose tables are missing, damaged, of another epoch or of an older version is made again
//! from the whole log ([`crate::rebuild`]). Meanwhile the old tables serve when they can be right: those
//! of an older version that the projection [still serves](Projection::STILL_SERVES), and those with a
//! damaged row, which is never read. Otherwise nothing serves, and readers are told so.

use std::sync::Arc;

use actix::prelude::*;
use amoiq_events::{EventStore, RecordedEvent};
use rusqlite::Connection;

use crate::{
    dead_letters::Passed,
    generation::Tables,
    rebuild::Rebuilds,
    views::{ViewError, Views},
};
use run::Run;

pub use progress::Progress;
pub(crate) use progress::{Doubt, Reporter};

mod progress;
mod run;

/// A fold of the log into tables. A value of it holds what was folded and is not in the tables yet.
///
/// The same code folds a few events of now and the whole log: only how long the changes are held
/// differs.
pub trait Projection: Default + Send + 'static {
    /// Its name, as operators use it.
    const NAME: &'static str;

    /// Changes with the tables or the fold: the tables are filled again then.
    const VERSION: u32;

    /// Older versions whose tables this release still folds and reads rightly. They serve while new
    /// ones are filled; tables of any other version do not.
    const STILL_SERVES: &'static [u32] = &[];

    /// The names of its tables, without the generation.
    const TABLES: &'static [&'static str];

    /// Makes the tables of a generation, empty.
    ///
    /// # Errors
    /// When the database refuses.
    fn create(conn: &Connection, tables: Tables) -> Result<(), ViewError>;

    /// Folds an event in. What it needs of the tables it reads; it writes nothing. The caller sees to it
    /// that each event comes once.
    ///
    /// # Errors
    /// When the database refuses or the event cannot be read: nothing is folded in then.
    fn fold(&mut self, conn: &Connection, tables: Tables, event: &RecordedEvent) -> Result<(), ViewError>;

    /// How many changes it holds.
    fn held(&self) -> usize;

    /// Its changes in portions of at most `most`, in the order of the tables' keys.
    fn portions(self, most: usize) -> Vec<Self>;

    /// Writes its changes into the tables.
    ///
    /// # Errors
    /// When the database refuses.
    fn store(&self, conn: &Connection, tables: Tables) -> Result<(), ViewError>;
}

/// The actor that runs one projection.
pub struct Projector<P> {
    /// Taken when it starts.
    run: Option<Run<P>>,
}

impl<P: Projection> Projector<P> {
    /// Starts the projection on the caller's arbiter.
    #[must_use]
    pub fn start(views: &Views, store: &Arc<dyn EventStore>) -> Progress {
        Self::start_with_rebuilds(views, store).0
    }

    /// The same, with the way to have it made again while it runs.
    #[must_use]
    pub fn start_with_rebuilds(views: &Views, store: &Arc<dyn EventStore>) -> (Progress, Rebuilds) {
        let (reporter, progress, doubts) = Progress::new();
        let (rebuilds, orders, reports) = Rebuilds::new(P::NAME);
        check(views.clone(), progress.clone());
        let run = Run::new(views.clone(), Arc::clone(store), reporter, doubts, (orders, reports));
        Actor::start(Self { run: Some(run) });
        (progress, rebuilds)
    }
}

impl<P: Projection> Actor for Projector<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(run) = self.run.take() else { return };
        // The log's end ends the subscription: that is the service stopping.
        ctx.spawn(run.run().into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// Folds events in, those that are passed by left out.
pub(crate) fn fold<'a, P: Projection>(
    projection: &mut P,
    conn: &Connection,
    tables: Tables,
    events: impl IntoIterator<Item = &'a RecordedEvent>,
    passed: &Passed,
) -> Result<(), ViewError> {
    let wanted = events.into_iter().filter(|recorded| !passed.holds(recorded));
    wanted.into_iter().try_for_each(|recorded| projection.fold(conn, tables, recorded))
}

/// Looks for damage in the file beside whatever else is done.
fn check(views: Views, progress: Progress) {
    let checking = std::thread::Builder::new().name("views-check".to_owned()).spawn(move || {
        if let Err(error) = views.check() {
            tracing::warn!(%error, "views.db was looked through");
            progress.doubt(&error);
        }
    });
    if let Err(error) = checking {
        tracing::warn!(%error, "views.db is not looked through for damage");
    }
}
