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
use amoiq_events::EventStore;

use crate::projections::{
    projection::Projection, projection_progress::ProjectionProgress, rebuild::RebuildHandle,
    view_store::ViewStore,
};
use projector_loop::ProjectorLoop;

mod projector_loop;

/// The actor that runs one projection.
pub struct Projector<P> {
    /// Taken when it starts.
    run: Option<ProjectorLoop<P>>,
}

impl<P: Projection> Projector<P> {
    /// Starts the projection on the caller's arbiter.
    #[must_use]
    pub fn start(views: &ViewStore, store: &Arc<dyn EventStore>) -> ProjectionProgress {
        Self::start_with_rebuilds(views, store).0
    }

    /// The same, with the way to have it made again while it runs.
    #[must_use]
    pub fn start_with_rebuilds(
        views: &ViewStore,
        store: &Arc<dyn EventStore>,
    ) -> (ProjectionProgress, RebuildHandle) {
        let (reporter, progress, doubts) = ProjectionProgress::new();
        let (rebuilds, orders, reports) = RebuildHandle::new(P::NAME);
        check(views.clone(), progress.clone());
        let run = ProjectorLoop::new(views.clone(), Arc::clone(store), reporter, doubts, (orders, reports));
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

/// Looks for damage in the file beside whatever else is done.
fn check(views: ViewStore, progress: ProjectionProgress) {
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
