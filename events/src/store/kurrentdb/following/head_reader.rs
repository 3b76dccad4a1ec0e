//! How far the log is now, whichever node appended: what a read asks first that has to contain everything that was
//! acknowledged.
//!
//! Whoever asks while the database is being asked waits for the next question, which is one for all of them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::Mutex, time::Instant};

use super::catch_up::LogCatchUp;
use crate::{
    Position,
    store::{
        ReadError,
        kurrentdb::connecting::{supervisor::ConnectionSupervisor, timing},
    },
};

/// Asks how far the log is.
pub(in crate::store::kurrentdb) struct HeadReader {
    supervisor: Arc<ConnectionSupervisor>,
    catch_up: LogCatchUp,
    /// How many questions were asked.
    asked: AtomicU64,
    /// The number of the newest question, and its answer. Locked while it is asked.
    newest: Mutex<(u64, Result<Position, ReadError>)>,
}

impl HeadReader {
    pub(in crate::store::kurrentdb) fn new(
        supervisor: Arc<ConnectionSupervisor>,
        catch_up: LogCatchUp,
    ) -> Self {
        let newest = Mutex::new((0, Ok(Position::START)));
        Self { supervisor, catch_up, asked: AtomicU64::new(0), newest }
    }

    /// The newest position of the log, once this node has followed everything up to there.
    pub(in crate::store::kurrentdb) async fn head(&self) -> Result<Position, ReadError> {
        let before = self.asked.load(Ordering::SeqCst);
        let mut newest = self.newest.lock().await;
        if newest.0 <= before {
            let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            *newest = (question, self.ask().await);
        }
        newest.1.clone()
    }

    async fn ask(&self) -> Result<Position, ReadError> {
        let following = self.supervisor.call(Instant::now() + timing::READ, |connection| {
            let catch_up = self.catch_up.clone();
            async move { catch_up.run(&connection).await }
        });
        following.await?;
        Ok(self.catch_up.log.feed().head())
    }
}
