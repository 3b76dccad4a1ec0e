//! Opening a log: making it, or bringing it up to date.

use super::schema::{self, LogState};
use crate::{
    postgres::{DatabaseSession, PostgresDatabase, PostgresOpenError},
    store::Epoch,
};

/// A log that was found or made, and the session that did.
pub(super) struct OpenedLog {
    pub(super) session: DatabaseSession,
    pub(super) state: LogState,
}

impl OpenedLog {
    /// Makes the log or brings it up to date.
    pub(super) async fn of(
        database: PostgresDatabase,
        new_epoch: Option<Epoch>,
    ) -> Result<Self, PostgresOpenError> {
        let mut session = database.connect().await?;
        let state = schema::prepare(&mut session, &database.schema, new_epoch).await?;
        Ok(Self { session, state })
    }
}
