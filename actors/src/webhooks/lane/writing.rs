//! How a lane notes what became of its deliveries. One writing is underway at a time; what happens
//! meanwhile goes together into the next.

use super::*;
use crate::webhooks::outbox::OutboxError;

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
        entries: Vec<(Delivery, Option<Attempt>)>,
        acks: Vec<oneshot::Sender<()>>,
        ctx: &mut Context<Self>,
    ) {
        let marks = self.marks_with(&entries);
        self.is_writing = true;
        self.is_marked = false;
        let (desk, lane) = (Arc::clone(&self.desk), self.id);
        let (noted, deliveries) = (marks.clone(), entries.clone());
        let writing = async move { desk.outbox.record(lane, noted, deliveries).await };
        ctx.spawn(writing.into_actor(self).map(move |result, lane, ctx| match result {
            Ok(()) => lane.have_written(&entries, marks, acks, ctx),
            Err(error) => lane.write_again(&error, entries, acks, ctx),
        }));
    }

    /// The marks once these are written.
    fn marks_with(&self, entries: &[(Delivery, Option<Attempt>)]) -> Marks {
        let positions: BTreeSet<_> = entries.iter().map(|(delivery, _)| delivery.position).collect();
        let mut marks = self.marks.clone();
        marks.cursor = self.backlog.cursor(Origin::Live, self.read, &positions);
        if let Some(replay) = &mut marks.replay {
            replay.cursor = self.backlog.cursor(Origin::Replay, self.replay_read, &positions);
        }
        marks
    }

    fn have_written(
        &mut self,
        entries: &[(Delivery, Option<Attempt>)],
        marks: Marks,
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
        self.marks.cursor = marks.cursor;
        if let (Some(now), Some(written)) = (&mut self.marks.replay, marks.replay) {
            // What was written may be of the replay before this one.
            let read = self.backlog.cursor(Origin::Replay, self.replay_read, &BTreeSet::new());
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
        error: &OutboxError,
        entries: Vec<(Delivery, Option<Attempt>)>,
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
        let cursor = self.backlog.cursor(Origin::Live, self.read, &BTreeSet::new());
        self.is_marked |= cursor > self.marks.cursor;
    }
}
