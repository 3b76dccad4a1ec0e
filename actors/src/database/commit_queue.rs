//! What waits to be written, and the thread that commits it.

use std::{io, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{DatabaseError, QUEUE};

/// The most changes of one transaction: as many as can wait.
const MAX_COMMIT_CHANGES: usize = QUEUE;

/// How long a change that nobody waits for waits for others.
const SOON: Duration = Duration::from_millis(25);

/// When the writer commits changes that may wait.
#[derive(Default)]
pub(super) struct CommitPace {
    /// Whether somebody waits for them.
    is_hurried: Mutex<bool>,
    hurried: Condvar,
}

impl CommitPace {
    pub(super) fn hurry(&self) {
        *self.is_hurried.lock() = true;
        self.hurried.notify_one();
    }

    /// Waits for [`SOON`], or until somebody hurries.
    fn wait(&self) {
        let mut is_hurried = self.is_hurried.lock();
        let _late = self.hurried.wait_while_for(&mut is_hurried, |is_hurried| !*is_hurried, SOON);
        *is_hurried = false;
    }
}

/// A waiting change, with an answer of any type.
pub(super) trait QueuedChange: Send {
    /// Makes the change. Returns whether it succeeded; otherwise it has to be rolled back.
    fn apply(&mut self, transaction: &Transaction<'_>) -> bool;

    /// Whether it may wait for others.
    fn may_wait(&self) -> bool;

    /// Answers it, when the transaction has ended.
    fn answer(self: Box<Self>, committed: Result<(), DatabaseError>);
}

pub(super) struct PendingChange<T, E, F> {
    work: Option<F>,
    /// `None` until it is made.
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    may_wait: bool,
}

impl<T, E, F> PendingChange<T, E, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, E>>, may_wait: bool) -> Self {
        Self { work: Some(work), outcome: None, reply, may_wait }
    }
}

impl<T, E, F> QueuedChange for PendingChange<T, E, F>
where
    T: Send,
    E: From<DatabaseError> + Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
{
    fn apply(&mut self, transaction: &Transaction<'_>) -> bool {
        self.outcome = self.work.take().map(|work| work(transaction));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn may_wait(&self) -> bool {
        self.may_wait
    }

    fn answer(self: Box<Self>, committed: Result<(), DatabaseError>) {
        let answer = match (self.outcome, committed) {
            // Its own error says more than the transaction's.
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(DatabaseError::Undone.into()),
        };
        drop(self.reply.send(answer));
    }
}

/// Makes the changes in one transaction, each within its own savepoint. Those that fail are rolled back.
pub(super) fn commit(
    conn: &mut Connection,
    changes: &mut [Box<dyn QueuedChange>],
) -> Result<(), DatabaseError> {
    // Immediate: otherwise a change that reads first would be refused when another process wrote meanwhile.
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // A single change needs no savepoint, which copies every page that is changed.
    if let [change] = changes {
        let succeeded = change.apply(&transaction);
        return if succeeded { Ok(transaction.commit()?) } else { Ok(()) };
    }
    for change in changes {
        transaction.prepare_cached("SAVEPOINT change")?.execute([])?;
        let succeeded = change.apply(&transaction);
        // On a full disk or a violated constraint SQLite may have rolled back the whole transaction.
        if transaction.is_autocommit() {
            return Err(DatabaseError::Undone);
        }
        if !succeeded {
            transaction.prepare_cached("ROLLBACK TO change")?.execute([])?;
        }
        transaction.prepare_cached("RELEASE change")?.execute([])?;
    }
    Ok(transaction.commit()?)
}

/// Starts the thread that commits.
pub(super) fn spawn_writer(
    name: String,
    mut conn: Connection,
    pace: Arc<CommitPace>,
) -> io::Result<mpsc::Sender<Box<dyn QueuedChange>>> {
    let (queue, mut waiting) = mpsc::channel::<Box<dyn QueuedChange>>(QUEUE);
    std::thread::Builder::new().name(name).spawn(move || {
        let mut changes = Vec::with_capacity(MAX_COMMIT_CHANGES);
        while waiting.blocking_recv_many(&mut changes, MAX_COMMIT_CHANGES) > 0 {
            if changes.iter().all(|change| change.may_wait()) {
                pace.wait();
                while changes.len() < MAX_COMMIT_CHANGES
                    && let Ok(change) = waiting.try_recv()
                {
                    changes.push(change);
                }
            }
            let committed = commit(&mut conn, &mut changes);
            changes.drain(..).for_each(|change| change.answer(committed.clone()));
        }
    })?;
    Ok(queue)
}

#[cfg(test)]
mod tests;
