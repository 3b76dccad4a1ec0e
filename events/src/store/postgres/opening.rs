//! Opening a log: making it, or bringing it up to date. What an earlier run of this node knew has to be in it, or a new epoch
//! begins.

use std::path::PathBuf;

use super::{
    history::{end_file, end_trail::EndTrail, epoch_change::EpochChange, epoch_table::EpochTable},
    schema::{self, LogState},
};
use crate::{
    Ambient,
    postgres::{DatabaseSession, PostgresDatabase, PostgresOpenError, PostgresOptions, SchemaName},
    store::Epoch,
};

/// Whether the log is being filled from elsewhere.
const IS_UNFINISHED: &str = "SELECT EXISTS (SELECT FROM {schema}.filling)";

/// A log that was found or made, and the session that did.
pub(super) struct OpenedLog {
    pub(super) session: DatabaseSession,
    pub(super) state: LogState,
    pub(super) epochs: EpochTable,
    /// Events of the log.
    pub(super) trail: EndTrail,
    /// Where the node keeps what it knows.
    pub(super) file: Option<PathBuf>,
    pub(super) may_be_lost: bool,
}

impl OpenedLog {
    /// Makes the log or brings it up to date. Without an ambient it does not make one, and begins no epoch. One that is being
    /// filled is refused.
    pub(super) async fn of(
        database: PostgresDatabase,
        options: PostgresOptions,
        ambient: Option<Ambient>,
    ) -> Result<Self, PostgresOpenError> {
        let schema = &database.schema;
        // Whoever only looks keeps nothing: the service may be running.
        let file = end_file::path(options.directory.as_ref()).filter(|_| ambient.is_some());
        let kept = end_file::read(file.as_ref());
        if let Some(server) = kept.as_ref().and_then(|kept| kept.server) {
            database.sessions.seen.remember(server);
        }
        database.check(options.may_be_lost).await?;
        let mut session = database.connect().await?;
        let new_epoch = || ambient.as_ref().map(|ambient| Epoch(u64::from_le_bytes(ambient.bytes())));
        schema::prepare(&mut session, schema, new_epoch()).await?;
        if session.value::<bool>(&schema.statement(IS_UNFINISHED)).await? {
            return Err(PostgresOpenError::Unfinished(schema.as_str().to_owned()));
        }
        if let (Some(kept), Some(new_epoch)) = (&kept, new_epoch()) {
            let epochs = EpochTable::load(&mut session, schema).await?;
            EpochChange::new(schema).settle_kept(&mut session, &epochs, kept, new_epoch).await?;
        }
        Self::found(session, schema, (file, options.may_be_lost)).await
    }

    /// A log that is being filled, for somebody who looks at it.
    pub(super) async fn unfinished(database: PostgresDatabase) -> Result<Self, PostgresOpenError> {
        let session = database.connect().await?;
        // Nothing is appended.
        Self::found(session, &database.schema, (None, false)).await
    }

    async fn found(
        mut session: DatabaseSession,
        schema: &SchemaName,
        (file, may_be_lost): (Option<PathBuf>, bool),
    ) -> Result<Self, PostgresOpenError> {
        let state = schema::state(&mut session, schema).await?;
        let epochs = EpochTable::load(&mut session, schema).await?;
        let trail = EndTrail::load(&mut session, schema, state.head).await?;
        Ok(Self { session: session.without_time_limit().await?, state, epochs, trail, file, may_be_lost })
    }
}
