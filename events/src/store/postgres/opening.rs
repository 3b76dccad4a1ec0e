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

impl PostgresOptions {
    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// When the address or the schema's name is none.
    pub fn check(&self) -> Result<(), PostgresOpenError> {
        SchemaName::parse(&self.schema)?;
        ServerAddress::parse(&self.address)?;
        Ok(())
    }
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
