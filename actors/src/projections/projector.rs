//! The actor that runs a projection: from its checkpoint to the end of the log, then what comes within a moment together, or
//! at once while a reader waits (`gathered_log`).
//!
//! The checkpoint is stored in the transaction that folds the events, so an event is folded once even when the process
//! dies in between. When the database refuses, the projector tries again. When an event cannot be read, it reports which
//! and stops there, unless an operator had the event skipped (`dead_letters`).
//!
//! A projection whose tables are missing, damaged, of another epoch or of an older version is rebuilt from the whole log
//! (`rebuild`). Meanwhile the old tables serve when they can be right: those of an older version that the projection
//! [still serves](Projection::STILL_SERVES), and those with a damaged row, which is never read. Otherwise nothing serves,
//! and readers get an error.

use std::sync::Arc;

use actix::prelude::*;
use amoiq_events::EventLog;

use crate::projections::{
    projection::{Projection, ProjectionProgress},
    rebuild::RebuildHandle,
    view_store::ViewStore,
};
use projector_loop::ProjectorLoop;

mod projector_loop;

/// The actor that runs one projection.
pub struct Projector<P> {
    /// Taken when it starts.
    work: Option<ProjectorLoop<P>>,
}

impl<P: Projection> Projector<P> {
    /// Starts the projection on the caller's arbiter.
    #[must_use]
    pub fn start(views: &ViewStore, store: &Arc<dyn EventLog>) -> ProjectionProgress {
        Self::start_with_rebuilds(views, store).0
    }

    /// The same, with a handle to rebuild it while it runs.
    #[must_use]
    pub fn start_with_rebuilds(
        views: &ViewStore,
        store: &Arc<dyn EventLog>,
    ) -> (ProjectionProgress, RebuildHandle) {
        let (reporter, progress, damages) = ProjectionProgress::new();
        let (rebuilds, commands, reports) = RebuildHandle::new(P::NAME);
        check(views.clone(), progress.clone());
        let work =
            ProjectorLoop::new(views.clone(), Arc::clone(store), reporter, damages, (commands, reports));
        Actor::start(Self { work: Some(work) });
        (progress, rebuilds)
    }
}

impl<P: Projection> Actor for Projector<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(work) = self.work.take() else { return };
        // The subscription ends when the service stops.
        ctx.spawn(work.run().into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// Looks for damage in the file, on a thread of its own.
fn check(views: ViewStore, progress: ProjectionProgress) {
    let checking = std::thread::Builder::new().name("views-check".to_owned()).spawn(move || {
        if let Err(error) = views.check() {
            tracing::warn!(%error, "views.db has damage");
            progress.report_damage(&error);
        }
    });
    if let Err(error) = checking {
        tracing::warn!(%error, "views.db is not checked for damage");
    }
}
