//! Signals between nodes that share a PostgreSQL: a table that is not logged, and notifications that wake who reads it.
//!
//! A notifying transaction holds a lock of the whole server until it has ended. This one does not wait for the disk or a
//! standby, and a node publishes at most 20 times a second.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, watch},
    task::AbortHandle,
    time::sleep,
};
use tokio_postgres::Row;

use super::{EntryChange, NodeEntries, PublishOutcome, SignalError, SignalExchange};
use crate::{
    TenantId, UserId,
    cluster::ClusterView,
    postgres::{
        CallFailure, DatabaseSession, Parameter, PostgresDatabase, PostgresOpenError, SchemaPart, timing,
    },
    store::StoreFuture,
};

/// The tables and functions. They refer to the register of nodes.
static SIGNALS_PART: SchemaPart =
    SchemaPart { name: "signals", steps: &[&[include_str!("postgres_signals/signals.sql")]] };

/// How many entries of a node are read at once, besides those that changed together with the last of them.
const PAGE_ENTRIES: i64 = 5_000;

/// How many wake-ups wait to be looked at. Any of them will do.
const QUEUE: usize = 16;

/// What one call may take.
const CALL: Duration = Duration::from_secs(3);

/// Where signals are exchanged.
#[derive(Clone)]
pub struct SignalOptions {
    /// The database in which the register of nodes is.
    pub database: PostgresDatabase,
    /// The name of this node.
    pub node: Arc<str>,
    /// The nodes, with this one's membership.
    pub view: watch::Receiver<Arc<ClusterView>>,
}

/// A node's part in the exchange.
pub struct PostgresSignals {
    database: PostgresDatabase,
    node: Arc<str>,
    view: watch::Receiver<Arc<ClusterView>>,
    calls: Arc<Mutex<SignalCalls>>,
    woken: watch::Receiver<u64>,
    listening: AbortHandle,
}

/// The one connection over which this node publishes and reads, and what it has read.
struct SignalCalls {
    database: PostgresDatabase,
    session: Option<DatabaseSession>,
    publish: Arc<str>,
    read: Arc<str>,
    forget: Arc<str>,
    /// Of each other node.
    seen: BTreeMap<String, ReadState>,
}

/// Up to where a node's entries were read.
#[derive(Debug, Clone, Copy)]
struct ReadState {
    list: i64,
    last: i64,
    /// Which removals were not kept any more then.
    purged: i64,
}

impl Drop for PostgresSignals {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl PostgresSignals {
    /// Opens the exchange; makes its tables when they do not exist. It blocks until the database has answered.
    ///
    /// # Errors
    /// A [`PostgresOpenError`], whose text says what to do.
    pub fn open(options: SignalOptions) -> Result<Self, PostgresOpenError> {
        let SignalOptions { database, node, view } = options;
        database.prepare(&SIGNALS_PART)?;
        let (wakes, woken) = watch::channel(0);
        let listening = database.spawn(listen(database.clone(), wakes)).abort_handle();
        let calls = Arc::new(Mutex::new(SignalCalls::new(database.clone())));
        Ok(Self { database, node, view, calls, woken, listening })
    }

    /// The membership under which this node publishes.
    fn membership(&self) -> Result<i64, SignalError> {
        let view = self.view.borrow();
        let own = view.own.as_ref().filter(|own| !own.is_over());
        own.map(|own| own.fencing().number.cast_signed()).ok_or(SignalError::NoMember)
    }
}

impl SignalExchange for PostgresSignals {
    fn node(&self) -> &Arc<str> {
        &self.node
    }

    fn publish(&self, changes: Vec<EntryChange>) -> StoreFuture<Result<PublishOutcome, SignalError>> {
        let membership = match self.membership() {
            Ok(membership) => membership,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (calls, node) = (Arc::clone(&self.calls), Arc::clone(&self.node));
        answer_of(
            self.database.spawn(async move { calls.lock().await.publish(&node, membership, &changes).await }),
        )
    }

    fn read(&self) -> StoreFuture<Result<Vec<NodeEntries>, SignalError>> {
        let (calls, node) = (Arc::clone(&self.calls), Arc::clone(&self.node));
        answer_of(self.database.spawn(async move { calls.lock().await.read(&node).await }))
    }

    fn forget(&self, node: Arc<str>, membership: u64) -> StoreFuture<Result<(), SignalError>> {
        let calls = Arc::clone(&self.calls);
        answer_of(self.database.spawn(async move { calls.lock().await.forget(&node, membership).await }))
    }

    fn wake_ups(&self) -> watch::Receiver<u64> {
        self.woken.clone()
    }
}

impl SignalCalls {
    fn new(database: PostgresDatabase) -> Self {
        let text = |text: &str| database.schema().statement(text);
        Self {
            session: None,
            publish: text("SELECT {schema}.publish_entries($1, $2, $3, $4, $5)"),
            read: text(include_str!("postgres_signals/read.sql")),
            forget: text("SELECT {schema}.forget_entries($1, $2)"),
            seen: BTreeMap::new(),
            database,
        }
    }

    async fn publish(
        &mut self,
        node: &str,
        membership: i64,
        changes: &[EntryChange],
    ) -> Result<PublishOutcome, SignalError> {
        let tenants: Vec<_> = changes.iter().map(|change| change.tenant.as_str()).collect();
        let users: Vec<_> = changes.iter().map(|change| change.user.as_str()).collect();
        let visitors =
            changes.iter().map(|change| change.visitor.as_ref().map(serde_json::to_string).transpose());
        let visitors: Vec<Option<String>> = visitors.collect::<Result<_, _>>().map_err(unreadable)?;
        let call = Arc::clone(&self.publish);
        let rows = self.call(&call, &[&node, &membership, &tenants, &users, &visitors]).await?;
        let is_known = rows.first().map(|row| row.try_get(0)).transpose().map_err(CallFailure::from)?;
        Ok(if is_known == Some(true) { PublishOutcome::Added } else { PublishOutcome::Alone })
    }

    async fn read(&mut self, node: &str) -> Result<Vec<NodeEntries>, SignalError> {
        let nodes: Vec<String> = self.seen.keys().cloned().collect();
        let of_each = |value: fn(&ReadState) -> i64| self.seen.values().map(value).collect::<Vec<_>>();
        let lists = of_each(|seen| seen.list);
        let (lasts, purged) = (of_each(|seen| seen.last), of_each(|seen| seen.purged));
        let call = Arc::clone(&self.read);
        let values: [Parameter<'_>; 6] = [&node, &nodes, &lists, &lasts, &purged, &PAGE_ENTRIES];
        let rows = self.call(&call, &values).await?;
        let (mut news, mut seen) = (Vec::new(), self.seen.clone());
        for row in &rows {
            take(row, &mut news, &mut seen)?;
        }
        // Only now: a row that does not read must not take the others with it.
        self.seen = seen;
        Ok(news)
    }

    async fn forget(&mut self, node: &str, membership: u64) -> Result<(), SignalError> {
        let call = Arc::clone(&self.forget);
        self.call(&call, &[&node, &membership.cast_signed()]).await.map(drop)
    }

    /// Makes a call on the session, or on a new one when that is gone.
    async fn call(&mut self, text: &Arc<str>, values: &[Parameter<'_>]) -> Result<Vec<Row>, SignalError> {
        let mut session = match self.session.take().filter(DatabaseSession::is_usable) {
            Some(session) => session,
            None => {
                let mut session = self.database.connect().await?;
                session.execute("SET synchronous_commit = off", timing::CONNECT).await?;
                session
            }
        };
        let answered = session.query(text, values, CALL).await;
        if !matches!(answered, Err(CallFailure::Broken(_))) {
            self.session = Some(session);
        }
        Ok(answered?)
    }
}

/// Adds a row to what is new of its node.
fn take(
    row: &Row,
    news: &mut Vec<NodeEntries>,
    seen: &mut BTreeMap<String, ReadState>,
) -> Result<(), SignalError> {
    let column = CallFailure::from;
    let node: String = row.try_get(0).map_err(column)?;
    let membership: i64 = row.try_get(1).map_err(column)?;
    if news.last().is_none_or(|last| *last.node != *node) {
        news.push(NodeEntries {
            node: node.as_str().into(),
            membership: membership.cast_unsigned(),
            is_whole: row.try_get(4).map_err(column)?,
            changes: Vec::new(),
        });
    }
    let (last, purged) = (row.try_get(2).map_err(column)?, row.try_get(3).map_err(column)?);
    seen.insert(node, ReadState { list: row.try_get(8).map_err(column)?, last, purged });
    let tenant: Option<String> = row.try_get(5).map_err(column)?;
    let (Some(tenant), Some(entries)) = (tenant, news.last_mut()) else { return Ok(()) };
    let visitor: Option<&str> = row.try_get(7).map_err(column)?;
    entries.changes.push(EntryChange {
        tenant: TenantId::try_from(tenant).map_err(unreadable)?,
        user: UserId::parse(row.try_get(6).map_err(column)?).map_err(unreadable)?,
        visitor: visitor.map(serde_json::from_str).transpose().map_err(unreadable)?,
    });
    Ok(())
}

impl From<CallFailure> for SignalError {
    fn from(failure: CallFailure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

fn unreadable(error: impl std::fmt::Display) -> SignalError {
    SignalError::Unavailable(format!("an entry is not what this release writes: {error}"))
}

fn answer_of<T: Send + 'static>(
    task: tokio::task::JoinHandle<Result<T, SignalError>>,
) -> StoreFuture<Result<T, SignalError>> {
    let closed = || SignalError::Unavailable("the exchange is closed".to_owned());
    Box::pin(async move { task.await.unwrap_or_else(|_ended| Err(closed())) })
}

/// Hears other nodes, and this one.
async fn listen(database: PostgresDatabase, wakes: watch::Sender<u64>) {
    loop {
        let (heard, mut names) = mpsc::channel(QUEUE);
        if let Ok(mut session) = database.sessions.connect_heard(heard).await
            && session
                .execute(&database.schema().fill("LISTEN \"{name}_signals\""), timing::CONNECT)
                .await
                .is_ok()
        {
            // Something may have been notified before.
            wakes.send_modify(|count| *count += 1);
            while names.recv().await.is_some() {
                wakes.send_modify(|count| *count += 1);
            }
        }
        sleep(timing::RETRY).await;
    }
}
