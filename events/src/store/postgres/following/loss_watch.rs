//! What a running node does when the log lacks events that it knows: it begins another epoch, or finds the one that another
//! node began, and from then on refuses everything. Its actors, views and sockets are of the old history, so the service
//! ends and starts anew.

use std::sync::Arc;

use crate::{
    Ambient,
    postgres::{CallFailure, PostgresDatabase, SessionMaker},
    store::{
        Epoch,
        feed::LogFeed,
        postgres::history::{end_file::EndKeeper, epoch_change::EpochChange, known_end::KnownEnd},
    },
};

/// Settles which epoch the log has.
pub(in crate::store::postgres) struct LossWatch {
    sessions: SessionMaker,
    known: Arc<KnownEnd>,
    keeper: Arc<EndKeeper>,
    change: EpochChange,
    ambient: Ambient,
}

impl LossWatch {
    pub(in crate::store::postgres) fn new(
        database: &PostgresDatabase,
        known: &Arc<KnownEnd>,
        keeper: &Arc<EndKeeper>,
        ambient: Ambient,
    ) -> Self {
        let (known, keeper, change) =
            (Arc::clone(known), Arc::clone(keeper), EpochChange::new(&database.schema));
        Self { sessions: database.sessions.clone(), known, keeper, change, ambient }
    }

    /// Asks the log, which may have what is known after all. Whatever fails is tried again with the next look at the log.
    pub(in crate::store::postgres) async fn settle(&self, feed: &LogFeed) {
        if self.known.check_current().is_ok()
            && let Err(failure) = self.try_settle(feed).await
        {
            tracing::error!(error = %failure, "it is not settled whether the log is another one; trying again");
        }
    }

    async fn try_settle(&self, feed: &LogFeed) -> Result<(), CallFailure> {
        let mut session = self.sessions.connect().await?;
        // The newest events are still in memory: they tell exactly where the histories part.
        let trail = self.keeper.trail().with(feed.recent());
        let new = Epoch(u64::from_le_bytes(self.ambient.bytes()));
        let epoch = self.change.settle(&mut session, self.known.values(), &trail, new).await?;
        if epoch != self.known.epoch() {
            self.known.replace(epoch);
        }
        Ok(())
    }
}
