//! A server and a schema, as one part of the program uses them.
//!
//! A process opens one and hands it to each part [with a thread of its own](PostgresDatabase::on_own_thread): the renewal of
//! a lease must not wait until the log has decoded what it reads. But all parts go to the same server: what one of them has
//! seen replaced, none of them uses any more.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use super::{
    CallFailure, DatabaseSession, DatabaseThread, PostgresOpenError, SchemaName, SchemaPart, SessionMaker,
    server_address::ServerAddress, server_check, session::tls,
};

/// What opening may take: connecting to every host, and making the schema.
const OPEN: Duration = Duration::from_mins(1);

/// How the threads are called.
const THREAD: &str = "store-postgres";

/// Which database to open.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host/database`, see `docs/decisions/0025-postgres-log.md`.
    pub address: String,
    /// Takes the place of the address's user.
    pub user: Option<String>,
    /// Takes the place of the address's password.
    pub password: Option<String>,
    /// The schema that holds the tables.
    pub schema: String,
    /// Whether a server may answer before what it acknowledges survives a crash.
    pub may_be_lost: bool,
    /// Where this node keeps what it knows of the log. Without it, a loss while the node is away is not noticed.
    pub directory: Option<PathBuf>,
}

impl PostgresOptions {
    /// A durable database and its schema `amoiq`.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            user: None,
            password: None,
            schema: "amoiq".to_owned(),
            may_be_lost: false,
            directory: None,
        }
    }

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

/// An open database. Its thread ends with the last clone.
#[derive(Clone)]
pub struct PostgresDatabase {
    pub(crate) thread: DatabaseThread,
    pub(crate) sessions: SessionMaker,
    pub(crate) schema: SchemaName,
}

impl PostgresDatabase {
    /// Finds a server that takes writes, and refuses one that does not keep what it acknowledges. It blocks until the
    /// server has answered.
    ///
    /// # Errors
    /// A [`PostgresOpenError`], whose text says what to do.
    pub fn open(options: &PostgresOptions) -> Result<Self, PostgresOpenError> {
        let database = Self::unchecked(options)?;
        database.wait_for({
            let database = database.clone();
            let may_be_lost = options.may_be_lost;
            async move { database.check(may_be_lost).await }
        })?;
        Ok(database)
    }

    /// The same without asking the server.
    pub(crate) fn unchecked(options: &PostgresOptions) -> Result<Self, PostgresOpenError> {
        let thread = DatabaseThread::start(THREAD)?;
        let schema = SchemaName::parse(&options.schema)?;
        let server = ServerAddress::parse(&options.address)?
            .with_credentials(options.user.as_deref(), options.password.as_deref());
        let tls = tls::connector(&server)?;
        let sessions = SessionMaker { server: Arc::new(server), tls, seen: Arc::default() };
        Ok(Self { thread, sessions, schema })
    }

    /// The same database for another part of the process. What either sees of servers, both know.
    ///
    /// # Errors
    /// [`PostgresOpenError::Thread`]
    pub fn on_own_thread(&self) -> Result<Self, PostgresOpenError> {
        Ok(Self { thread: DatabaseThread::start(THREAD)?, ..self.clone() })
    }

    /// Refuses a server that does not keep what it acknowledges, unless that is allowed.
    pub(crate) async fn check(&self, may_be_lost: bool) -> Result<(), PostgresOpenError> {
        let mut session = self.connect().await?;
        server_check::check(&mut session, may_be_lost).await?;
        server_check::check_direct(&mut session, &self.sessions).await
    }

    /// Makes the tables of a part, or brings them up to date. It blocks until that is done.
    ///
    /// # Errors
    /// A [`PostgresOpenError`]: also when a newer release made them.
    pub fn prepare(&self, part: &'static SchemaPart) -> Result<(), PostgresOpenError> {
        let database = self.clone();
        self.wait_for(async move {
            let mut session = database.connect().await?;
            part.prepare(&mut session, &database.schema, "").await
        })
    }

    /// The schema, to write statements with.
    #[must_use]
    pub fn schema(&self) -> &SchemaName {
        &self.schema
    }

    /// Connects to the first host that takes writes. To be called on the database's thread.
    ///
    /// # Errors
    /// The failures of all hosts.
    pub async fn connect(&self) -> Result<DatabaseSession, CallFailure> {
        self.sessions.connect().await
    }

    /// Runs a task on the database's thread.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.thread.spawn(task)
    }

    /// Runs a task on the database's thread and blocks until it has ended.
    pub(crate) fn wait_for<T: Send + 'static, E: From<PostgresOpenError> + Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let silent = || E::from(PostgresOpenError::Database("it does not answer".to_owned()));
        self.thread.wait_for(task, OPEN).unwrap_or_else(|| Err(silent()))
    }
}
