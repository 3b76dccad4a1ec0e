//! How a lane notes what became of its deliveries. One writing is underway at a time; what happens
//! meanwhile goes together into the next.

use super::*;
use crate::webhooks::delivery_store::DeliveryStoreError;

impl WebhookLane {
    /// Writes whatever has to be written.
    pub(super) fn write(&mut self, ctx: &mut Context<Self>) {
        if self.is_writing || (self.outcomes.is_empty() && self.acks.is_empty() && !self.is_marked) {
            return;
        }
        let writing = std::mem::take(&mut self.outcomes);
        let acks = std::mem::take(&mut self.acks);
        self.write_these(writing, acks, ctx);
    }

    fn write_these(
        &mut self,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
        acks: Vec<oneshot::Sender<()>>,
        ctx: &mut Context<Self>,
    ) {
        let progress = self.marks_with(&entries);
        self.is_writing = true;
        self.is_marked = false;
        let (services, lane) = (Arc::clone(&self.services), self.id);
        let (noted, deliveries) = (progress.clone(), entries.clone());
        let writing = async move { services.deliveries.record(lane, noted, deliveries).await };
        ctx.spawn(writing.into_actor(self).map(move |result, lane, ctx| match result {
            Ok(()) => lane.have_written(&entries, progress, acks, ctx),
            Err(error) => lane.write_again(&error, entries, acks, ctx),
        }));
    }

    /// The progress once these are written.
    fn marks_with(&self, entries: &[(Delivery, Option<DeliveryAttempt>)]) -> LaneProgress {
        let positions: BTreeSet<_> = entries.iter().map(|(delivery, _)| delivery.position).collect();
        let mut progress = self.progress.clone();
        progress.cursor = self.backlog.cursor(DeliveryOrigin::Live, self.read, &positions);
        if let Some(replay) = &mut progress.replay {
            replay.cursor = self.backlog.cursor(DeliveryOrigin::Replay, self.replay_read, &positions);
        }
        progress
    }

    fn have_written(
        &mut self,
        entries: &[(Delivery, Option<DeliveryAttempt>)],
        progress: LaneProgress,
        acks: Vec<oneshot::Sender<()>>,
        ctx: &mut Context<Self>,
    ) {
        self.is_writing = false;
        if self.writing_trouble.ends() {
            tracing::info!(tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                "a lane notes its deliveries again");
        }
        for (delivery, attempt) in entries {
            self.backlog.written(delivery.position);
            if attempt.is_some() {
                self.underway -= 1;
            }
        }
        self.progress.cursor = progress.cursor;
        if let (Some(now), Some(written)) = (&mut self.progress.replay, progress.replay) {
            // What was written may be of the replay before this one.
            let read = self.backlog.cursor(DeliveryOrigin::Replay, self.replay_read, &BTreeSet::new());
            now.cursor = written.cursor.min(read).max(now.after);
        }
        for ack in acks {
            // Whoever asked may have stopped waiting.
            let _gone = ack.send(());
        }
        self.pump(ctx);
    }

    /// Nothing is forgotten: places stay taken until it is written, so that soon nothing more is tried.
    fn write_again(
        &mut self,
        error: &DeliveryStoreError,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
        acks: Vec<oneshot::Sender<()>>,
        ctx: &mut Context<Self>,
    ) {
        let (wait, is_new) = self.writing_trouble.fails();
        if is_new {
            tracing::error!(%error, tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                "a lane cannot note its deliveries; it tries again");
        }
        ctx.run_later(wait, |lane, ctx| lane.write_these(entries, acks, ctx));
    }

    /// Notes how far it is although nothing was delivered, so that a restart does not read all of it again.
    pub(super) fn note_progress(&mut self) {
        let cursor = self.backlog.cursor(DeliveryOrigin::Live, self.read, &BTreeSet::new());
        self.is_marked |= cursor > self.progress.cursor;
    }
}
