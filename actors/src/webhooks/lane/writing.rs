//! How a lane writes its deliveries and its progress.

use std::{collections::BTreeSet, sync::Arc};

use actix::prelude::*;

use super::{LaneEvent, WebhookLane, backlog::LaneCursor, record_queue::RecordBatch};
use crate::webhooks::{delivery::LaneProgress, delivery_store::DeliveryStoreError};

impl WebhookLane {
    /// Writes what waits, unless a write is running.
    pub(super) fn write(&mut self, ctx: &mut Context<Self>) {
        if !self.state.may_write() {
            if self.records.is_awaited() || self.scheduler.is_held_up() {
                self.services.deliveries.hurry();
            }
        } else if let Some(batch) = self.records.take() {
            self.write_batch(batch, ctx);
        }
    }

    fn write_batch(&mut self, batch: RecordBatch, ctx: &mut Context<Self>) {
        self.state.apply(LaneEvent::WriteStarted);
        let progress = self.progress_after(&batch);
        let (services, lease, lane) = (Arc::clone(&self.services), self.lease.clone(), self.id);
        let (saved, records) = (progress.clone(), batch.records.clone());
        let is_awaited = batch.is_awaited() || self.scheduler.is_held_up();
        let writing = async move {
            let deliveries = &services.deliveries;
            match is_awaited {
                true => deliveries.record(&lease, lane, saved, records).await,
                false => deliveries.record_soon(&lease, lane, saved, records).await,
            }
        };
        ctx.spawn(writing.into_actor(self).map(move |result, lane, ctx| match result {
            Ok(()) => lane.batch_written(batch, &progress, ctx),
            Err(DeliveryStoreError::LeaseLost) => lane.end_replaced(ctx),
            Err(error) => lane.write_later(&error, batch, ctx),
        }));
    }

    /// The progress once a batch is written.
    fn progress_after(&self, batch: &RecordBatch) -> LaneProgress {
        let writing: BTreeSet<_> = batch.records.iter().map(|(delivery, _)| delivery.position).collect();
        let backlog = &self.scheduler.backlog;
        let cursor = backlog.cursor(LaneCursor::Live, self.cursor.read(), &writing);
        let mut replay = self.cursor.replay();
        if let Some(replay) = &mut replay {
            replay.cursor = backlog.cursor(LaneCursor::Replay, self.cursor.replay_read(), &writing);
        }
        let mut progress = LaneProgress { cursor, replay, ..LaneProgress::default() };
        self.scheduler.save(&mut progress);
        progress
    }

    fn batch_written(&mut self, batch: RecordBatch, progress: &LaneProgress, ctx: &mut Context<Self>) {
        self.state.apply(LaneEvent::WriteEnded);
        if self.write_backoff.record_success() {
            tracing::info!(tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                "a lane can record its deliveries again");
        }
        for (delivery, attempt) in &batch.records {
            self.scheduler.release(delivery.position, attempt.is_some());
        }
        self.records.cursor_saved(progress.cursor);
        if let Some(written) = progress.replay {
            let backlog = &self.scheduler.backlog;
            let read = backlog.cursor(LaneCursor::Replay, self.cursor.replay_read(), &BTreeSet::new());
            self.cursor.replay_written(written, read);
        }
        batch.notify();
        self.pump(ctx);
    }

    /// Another node has the lane. It makes the attempts again whose outcome is not written, under the same ids.
    fn end_replaced(&mut self, ctx: &mut Context<Self>) {
        tracing::warn!(tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
            "a lane ends, because another node may have taken it over");
        self.lease.give_up();
        ctx.stop();
    }

    /// Repeats a failed write later. Nothing is lost: attempts count as running until they are written, so that soon no
    /// more start.
    fn write_later(&mut self, error: &DeliveryStoreError, batch: RecordBatch, ctx: &mut Context<Self>) {
        self.state.apply(LaneEvent::WriteFailed);
        let (wait, is_new) = self.write_backoff.record_failure();
        if is_new {
            tracing::error!(%error, tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                "a lane cannot record its deliveries; it tries again");
        }
        ctx.run_later(wait, |lane, ctx| lane.write_batch(batch, ctx));
    }

    /// Saves the cursor although nothing was delivered, so that a restart does not read everything again.
    pub(super) fn save_cursor(&mut self) {
        let cursor = self.scheduler.backlog.cursor(LaneCursor::Live, self.cursor.read(), &BTreeSet::new());
        self.records.add_cursor(cursor);
    }
}
