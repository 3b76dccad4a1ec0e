//! Opening a log: where it is, and what has to be true of the server.

use std::sync::Arc;

use super::{
    connecting::{
        open_error::PostgresOpenError,
        server_address::ServerAddress,
        server_check,
        session::{DatabaseSession, SessionMaker},
        tls,
    },
    schema::{self, LogState, SchemaName},
};
use crate::store::Epoch;

/// Which log to open.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host/database`, see `docs/decisions/0025-postgres-log.md`.
    pub address: String,
    /// Takes the place of the address's user.
    pub user: Option<String>,
    /// Takes the place of the address's password.
    pub password: Option<String>,
    /// The schema that holds the log.
    pub schema: String,
    /// Whether a server may answer before what it acknowledges survives a crash.
    pub may_be_lost: bool,
}

impl PostgresOptions {
    /// A durable log in the schema `amoiq`.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            user: None,
            password: None,
            schema: "amoiq".to_owned(),
            may_be_lost: false,
        }
    }
}

/// A log that was found or made, and the session that did.
pub(super) struct OpenedLog {
    pub(super) session: DatabaseSession,
    pub(super) sessions: SessionMaker,
    pub(super) schema: SchemaName,
    pub(super) state: LogState,
}

impl OpenedLog {
    /// Connects, looks at the server, and makes the log or brings it up to date.
    pub(super) async fn of(
        options: PostgresOptions,
        new_epoch: Option<Epoch>,
    ) -> Result<Self, PostgresOpenError> {
        let schema = SchemaName::parse(&options.schema)?;
        let server = ServerAddress::parse(&options.address)?
            .with_credentials(options.user.as_deref(), options.password.as_deref());
        let tls = tls::connector(&server)?;
        let sessions = SessionMaker { server: Arc::new(server), tls };
        let mut session = sessions.connect().await?;
        server_check::check(&mut session, options.may_be_lost).await?;
        server_check::check_direct(&mut session, &sessions).await?;
        let state = schema::prepare(&mut session, &schema, new_epoch).await?;
        Ok(Self { session, sessions, schema, state })
    }
}
