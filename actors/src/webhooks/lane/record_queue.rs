//! What a lane has to write to `outbox.db`. One write runs at a time; what is added meanwhile goes together into the
//! next one.

use amoiq_events::Position;
use tokio::sync::oneshot;

use crate::webhooks::delivery::{Delivery, DeliveryAttempt};

/// A delivery as it is now, with the attempt that has just ended, if there was one.
pub(super) type DeliveryRecord = (Delivery, Option<DeliveryAttempt>);

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct RecordQueue {
    records: Vec<DeliveryRecord>,
    /// Callers that wait until everything before is written.
    waiters: Vec<oneshot::Sender<()>>,
    /// The progress changed although no delivery did.
    has_progress: bool,
    /// The cursor that is in `outbox.db`.
    saved_cursor: Position,
}

/// What one write consists of.
#[derive(Debug)]
pub(super) struct RecordBatch {
    pub(super) records: Vec<DeliveryRecord>,
    waiters: Vec<oneshot::Sender<()>>,
}

impl RecordBatch {
    /// Whether somebody waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Tells the callers that everything is written.
    pub(super) fn notify(self) {
        for waiter in self.waiters {
            // The caller may no longer wait.
            let _gone = waiter.send(());
        }
    }
}

impl RecordQueue {
    pub(super) fn new(saved_cursor: Position) -> Self {
        Self { saved_cursor, ..Self::default() }
    }

    pub(super) fn push(&mut self, delivery: Delivery, attempt: Option<DeliveryAttempt>) {
        self.records.push((delivery, attempt));
    }

    /// Whether somebody waits for what is in it.
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Ends when everything that was added before is written.
    pub(super) fn written(&mut self) -> oneshot::Receiver<()> {
        let (waiter, written) = oneshot::channel();
        self.waiters.push(waiter);
        written
    }

    /// The progress has to be written.
    pub(super) fn add_progress(&mut self) {
        self.has_progress = true;
    }

    /// The cursor has to be written if it is further than the saved one.
    pub(super) fn add_cursor(&mut self, cursor: Position) {
        self.has_progress |= cursor > self.saved_cursor;
    }

    /// The saved cursor is this one now.
    pub(super) fn cursor_saved(&mut self, cursor: Position) {
        self.saved_cursor = cursor;
    }

    /// Takes everything for the next write; `None` if there is nothing to write.
    pub(super) fn take(&mut self) -> Option<RecordBatch> {
        if self.records.is_empty() && self.waiters.is_empty() && !self.has_progress {
            return None;
        }
        self.has_progress = false;
        let records = std::mem::take(&mut self.records);
        Some(RecordBatch { records, waiters: std::mem::take(&mut self.waiters) })
    }

    /// Removes and returns the records that match.
    pub(super) fn remove(&mut self, matches: impl Fn(&Delivery) -> bool) -> Vec<DeliveryRecord> {
        self.records.extract_if(.., |(delivery, _)| matches(delivery)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_written_only_when_it_is_further_than_the_saved_one() {
        let at = Position::from_u64;
        let mut queue = RecordQueue::new(at(5));
        queue.add_cursor(at(5));
        assert!(queue.take().is_none());
        queue.add_cursor(at(6));
        assert!(queue.take().is_some());
        queue.cursor_saved(at(6));
        queue.add_cursor(at(6));
        assert!(queue.take().is_none(), "it is saved already");
    }

    #[test]
    fn who_waits_hears_of_the_write_that_its_records_are_part_of() {
        let mut queue = RecordQueue::default();
        let mut first = queue.written();
        let batch = queue.take().unwrap();
        let mut second = queue.written();
        batch.notify();
        assert_eq!(first.try_recv(), Ok(()));
        assert!(second.try_recv().is_err(), "it came after the batch was taken");
        queue.take().unwrap().notify();
        assert_eq!(second.try_recv(), Ok(()));
    }
}
