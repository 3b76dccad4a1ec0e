//! A few sessions for reading. Reads wait for a free one, in a queue with a bound, until their deadline.
//!
//! A session that is made is first asked whether it leads to the log that this node knows. A read that fails on an idle
//! session is asked again on a new one: the server may have been restarted meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    postgres::{CallFailure, DatabaseSession, DatabaseThread, Parameter, SessionMaker, timing},
    store::{ReadError, StoreFuture, postgres::history::known_end::KnownEnd},
};

/// How many reads are made at once.
const SESSIONS: usize = 4;

/// How many reads there are at the most; one more is answered [`ReadError::Overloaded`].
const QUEUE: usize = 4_096;

/// The values of a query.
pub(in crate::store::postgres) type ReadParameters = Vec<Box<dyn ToSql + Send + Sync>>;

/// Reads, on the store's thread. Subscriptions keep it after the store is closed, to hand out what is left.
#[derive(Clone)]
pub(in crate::store::postgres) struct SessionPool {
    shared: Arc<PoolState>,
    thread: DatabaseThread,
}

struct PoolState {
    sessions: SessionMaker,
    known: Arc<KnownEnd>,
    idle: Mutex<Vec<DatabaseSession>>,
    free: Semaphore,
    asked: AtomicUsize,
}

impl SessionPool {
    pub(in crate::store::postgres) fn new(
        thread: DatabaseThread,
        sessions: SessionMaker,
        known: Arc<KnownEnd>,
    ) -> Self {
        let shared = PoolState {
            sessions,
            known,
            idle: Mutex::default(),
            free: Semaphore::new(SESSIONS),
            asked: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared), thread }
    }

    /// Asks a query, and decodes its rows.
    pub(in crate::store::postgres) fn read<T: Send + 'static>(
        &self,
        query: &Arc<str>,
        parameters: ReadParameters,
        decode: impl FnOnce(&[Row]) -> Result<T, ReadError> + Send + 'static,
    ) -> StoreFuture<Result<T, ReadError>> {
        let (pool, query) = (Arc::clone(&self.shared), Arc::clone(query));
        if pool.asked.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            pool.asked.fetch_sub(1, Ordering::Relaxed);
            return Box::pin(std::future::ready(Err(ReadError::Overloaded)));
        }
        let reading = self.thread.spawn(async move {
            let rows = timeout_at(Instant::now() + timing::READ, pool.rows(&query, &parameters)).await;
            pool.asked.fetch_sub(1, Ordering::Relaxed);
            decode(&rows.unwrap_or_else(|_late| Err(CallFailure::silent()))?)
        });
        Box::pin(async { reading.await.unwrap_or_else(|_ended| Err(closed())) })
    }

    /// The same for the store itself, which is on the thread and has a deadline of its own.
    pub(in crate::store::postgres) async fn rows(
        &self,
        query: &Arc<str>,
        parameters: &ReadParameters,
    ) -> Result<Vec<Row>, CallFailure> {
        self.shared.rows(query, parameters).await
    }
}

impl PoolState {
    async fn rows(&self, query: &Arc<str>, parameters: &ReadParameters) -> Result<Vec<Row>, CallFailure> {
        self.known.check_current()?;
        let _permit = self.free.acquire().await.map_err(|_never| CallFailure::silent())?;
        let values: Vec<Parameter<'_>> = parameters.iter().map(|value| &**value as Parameter<'_>).collect();
        let idle = self.idle.lock().pop().filter(DatabaseSession::is_usable);
        if let Some(mut session) = idle {
            match session.query(query, &values, timing::READ).await {
                Err(CallFailure::Broken(_)) => {}
                read => {
                    self.idle.lock().push(session);
                    return read;
                }
            }
        }
        let mut session = self.sessions.connect().await?;
        self.known.check(&mut session).await?;
        let read = session.query(query, &values, timing::READ).await;
        if session.is_usable() {
            self.idle.lock().push(session);
        }
        read
    }
}

fn closed() -> ReadError {
    ReadError::Unavailable("the store is closed".to_owned())
}
