//! One connection to the database: how it is made, what it is told first, and that it is thrown away once it is silent.
//!
//! No call waits longer than it was given. After that the connection is closed without asking: what the server makes of
//! the call is not known, and its lock may still be held.

pub(super) mod tls;

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Row, Statement,
    types::{FromSqlOwned, ToSql},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    CallFailure,
    seen_server::{SeenServer, ServerIdentity},
    server_address::ServerAddress,
    timing,
};

/// The server's function that waits for the standby. A notice names it whatever the language of its text.
const WAIT_FOR_STANDBY: &str = "SyncRepWaitForLSN";

/// A value of a call.
pub type Parameter<'a> = &'a (dyn ToSql + Sync);

/// What makes sessions.
#[derive(Clone)]
pub(crate) struct SessionMaker {
    pub(crate) server: Arc<ServerAddress>,
    pub(crate) tls: MakeRustlsConnect,
    pub(crate) seen: Arc<SeenServer>,
}

/// A connection that was told how to behave.
pub struct DatabaseSession {
    client: Client,
    /// By the text of the statement.
    prepared: HashMap<Arc<str>, Statement>,
    driver: JoinHandle<()>,
    is_unreplicated: Arc<AtomicBool>,
    is_silent: bool,
    /// The server that it leads to, where that tells.
    identity: Option<ServerIdentity>,
    seen: Arc<SeenServer>,
}

impl Drop for DatabaseSession {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl SessionMaker {
    /// Connects to the first host that takes writes and was not replaced by another.
    pub(crate) async fn connect(&self) -> Result<DatabaseSession, CallFailure> {
        let (unheard, _nobody) = mpsc::channel(1);
        self.connect_heard(unheard).await
    }

    /// The same, and hands on what is notified; the newest of it where nobody takes it in time.
    pub(crate) async fn connect_heard(
        &self,
        heard: mpsc::Sender<String>,
    ) -> Result<DatabaseSession, CallFailure> {
        let mut failures = Vec::new();
        for host in &self.server.hosts {
            let connecting = self.connect_host(host, heard.clone());
            match timeout(timing::CONNECT, connecting)
                .await
                .unwrap_or_else(|_late| Err(CallFailure::silent()))
            {
                Ok(session) => return Ok(session),
                Err(failure) => failures.push(failure.to_string()),
            }
        }
        Err(CallFailure::Broken(failures.join("; ")))
    }

    async fn connect_host(
        &self,
        host: &Config,
        heard: mpsc::Sender<String>,
    ) -> Result<DatabaseSession, CallFailure> {
        let (client, connection) = host.connect(self.tls.clone()).await?;
        let is_unreplicated = Arc::new(AtomicBool::new(false));
        let driver = tokio::spawn(drive(connection, Arc::clone(&is_unreplicated), heard));
        let mut session = DatabaseSession {
            client,
            prepared: HashMap::new(),
            driver,
            is_unreplicated,
            is_silent: false,
            identity: None,
            seen: Arc::clone(&self.seen),
        };
        session.client.batch_execute(&settings()).await?;
        let row = session.client.query_one("SELECT pg_is_in_recovery()", &[]).await?;
        if row.try_get(0)? {
            return Err(CallFailure::Broken("the server is a standby".to_owned()));
        }
        session.identify().await?;
        Ok(session)
    }
}

impl DatabaseSession {
    /// Finds out which server this is. Some services do not let it tell.
    async fn identify(&mut self) -> Result<(), CallFailure> {
        let rows = match self.client.query(ServerIdentity::QUERY, &[]).await.map_err(CallFailure::from) {
            Err(CallFailure::Refused(_)) => return Ok(()),
            rows => rows?,
        };
        let identity = rows.first().map(ServerIdentity::decode).transpose()?;
        identity.map_or(Ok(()), |identity| self.seen.see(identity))?;
        self.identity = identity;
        Ok(())
    }

    /// Makes a call and waits for all of its rows.
    ///
    /// # Errors
    /// A [`CallFailure`]. After one that is [`CallFailure::Broken`] no further call can be made.
    pub async fn query(
        &mut self,
        text: &Arc<str>,
        parameters: &[Parameter<'_>],
        patience: Duration,
    ) -> Result<Vec<Row>, CallFailure> {
        let rows = timeout(patience, self.query_prepared(text, parameters)).await;
        rows.unwrap_or_else(|_late| {
            self.is_silent = true;
            Err(CallFailure::silent())
        })
    }

    async fn query_prepared(
        &mut self,
        text: &Arc<str>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, CallFailure> {
        let statement = match self.prepared.get(text) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(text).await?;
                self.prepared.insert(Arc::clone(text), statement.clone());
                statement
            }
        };
        Ok(self.client.query(&statement, parameters).await?)
    }

    /// Asks for one value.
    pub(crate) async fn value<T: FromSqlOwned>(&mut self, text: &Arc<str>) -> Result<T, CallFailure> {
        let rows = self.query(text, &[], timing::WRITE_CALL).await?;
        let row = rows.first().ok_or_else(|| CallFailure::Refused("a query gave no row".to_owned()))?;
        Ok(row.try_get(0)?)
    }

    /// Runs statements without parameters and rows, in one transaction unless they say otherwise.
    ///
    /// # Errors
    /// As of [`Self::query`].
    pub async fn execute(&mut self, statements: &str, patience: Duration) -> Result<(), CallFailure> {
        let executed = timeout(patience, self.client.batch_execute(statements)).await;
        match executed {
            Ok(executed) => Ok(executed?),
            Err(_late) => {
                self.is_silent = true;
                Err(CallFailure::silent())
            }
        }
    }

    /// Lifts the limit that the server sets its statements. One that a procedure commits under it would end the wait for
    /// the standby, and show what only this server has.
    pub(crate) async fn without_time_limit(mut self) -> Result<Self, CallFailure> {
        self.execute("SET statement_timeout = 0", timing::CONNECT).await?;
        Ok(self)
    }

    /// Whether the server stopped to wait for its standby since this was asked last. It then answers as if the standby
    /// had the commit.
    pub(crate) fn was_unreplicated(&self) -> bool {
        self.is_unreplicated.swap(false, Ordering::Relaxed)
    }

    /// Whether calls can still be made.
    pub fn is_usable(&self) -> bool {
        !self.is_silent && !self.client.is_closed() && self.seen.is_newest(self.identity)
    }
}

/// Moves bytes until the connection ends.
async fn drive<S, T>(
    mut connection: Connection<S, T>,
    is_unreplicated: Arc<AtomicBool>,
    heard: mpsc::Sender<String>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            AsyncMessage::Notice(notice) => {
                tracing::warn!(severity = notice.severity(), "the database says: {}", notice.message());
                is_unreplicated.fetch_or(notice.routine() == Some(WAIT_FOR_STANDBY), Ordering::Relaxed);
            }
            // Where the queue is full, enough is heard.
            AsyncMessage::Notification(notification) => {
                drop(heard.try_send(notification.payload().to_owned()))
            }
            _ => {}
        }
    }
}

/// What a session is told first.
///
/// The server must not wait for a node that is stopped or cut off. Plans use indexes whatever the planner believes of
/// tables that it never looked at: a plan is kept while a log grows from nothing to millions.
fn settings() -> String {
    let millis = |duration: Duration| duration.as_millis();
    format!(
        "SET client_min_messages = warning;
         SET default_transaction_isolation = 'read committed';
         SET statement_timeout = {statement};
         SET lock_timeout = {lock};
         SET idle_in_transaction_session_timeout = {silence};
         SET tcp_user_timeout = {silence};
         SET tcp_keepalives_idle = {keep_alive};
         SET tcp_keepalives_interval = {keep_alive};
         SET tcp_keepalives_count = 2;
         SET enable_seqscan = off;
         SET enable_hashjoin = off;
         SET enable_mergejoin = off;
         SET enable_bitmapscan = off;
         SET plan_cache_mode = force_generic_plan;
         SET jit = off",
        statement = millis(timing::STATEMENT),
        lock = millis(timing::LOCK),
        silence = millis(timing::SILENCE),
        keep_alive = timing::KEEP_ALIVE.as_secs(),
    )
}
