//! A few sessions for calls that do not depend on each other. Calls wait for a free one, in a queue with a bound, until
//! their deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_postgres::{Row, types::ToSql};

use super::{CallFailure, DatabaseSession, Parameter, PostgresDatabase, timing};

/// How many calls there are at the most.
const QUEUE: usize = 4_096;

/// A call from its queueing to its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The values of a call.
pub type CallValues = Vec<Box<dyn ToSql + Send + Sync>>;

/// Makes calls on its database's thread. Clones share the sessions.
#[derive(Clone)]
pub struct CallPool {
    database: PostgresDatabase,
    shared: Arc<CallSessions>,
}

struct CallSessions {
    idle: Mutex<Vec<DatabaseSession>>,
    free: Semaphore,
    asked: AtomicUsize,
}

impl CallPool {
    /// A pool with at most this many sessions.
    #[must_use]
    pub fn new(database: PostgresDatabase, sessions: usize) -> Self {
        let shared = CallSessions {
            idle: Mutex::default(),
            free: Semaphore::new(sessions),
            asked: AtomicUsize::new(0),
        };
        Self { database, shared: Arc::new(shared) }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &PostgresDatabase {
        &self.database
    }

    /// Makes a call. One that got no answer may have been carried out; it is made again when the connection was an old one
    /// that had broken, so it has to be one that may be repeated.
    ///
    /// # Errors
    /// A [`CallFailure`]. It is [`CallFailure::Broken`] also when the call was carried out and somebody ended its wait for
    /// the standby.
    pub async fn call(&self, text: &Arc<str>, values: CallValues) -> Result<Vec<Row>, CallFailure> {
        let (pool, text) = (self.clone(), Arc::clone(text));
        if pool.shared.asked.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            pool.shared.asked.fetch_sub(1, Ordering::Relaxed);
            return Err(CallFailure::Postponed("too many calls wait".to_owned()));
        }
        let calling = self.database.spawn(async move {
            let rows = timeout_at(Instant::now() + PATIENCE, pool.rows(&text, &values)).await;
            pool.shared.asked.fetch_sub(1, Ordering::Relaxed);
            rows.unwrap_or_else(|_late| Err(CallFailure::silent()))
        });
        calling.await.unwrap_or_else(|_ended| Err(CallFailure::Broken("the database is closed".to_owned())))
    }

    async fn rows(&self, text: &Arc<str>, values: &CallValues) -> Result<Vec<Row>, CallFailure> {
        let shared = &self.shared;
        let _permit = shared.free.acquire().await.map_err(|_never| CallFailure::silent())?;
        let values: Vec<Parameter<'_>> = values.iter().map(|value| &**value as Parameter<'_>).collect();
        let idle = shared.idle.lock().pop().filter(DatabaseSession::is_usable);
        if let Some(mut session) = idle {
            match session.query(text, &values, timing::WRITE_CALL).await {
                Err(CallFailure::Broken(_)) => {}
                answered => return self.give_back(session, answered),
            }
        }
        let mut session = self.database.connect().await?;
        let answered = session.query(text, &values, timing::WRITE_CALL).await;
        self.give_back(session, answered)
    }

    /// Takes a session back, and says so when the answer came although the standby does not have what was written.
    fn give_back(
        &self,
        session: DatabaseSession,
        answered: Result<Vec<Row>, CallFailure>,
    ) -> Result<Vec<Row>, CallFailure> {
        let is_unreplicated = session.was_unreplicated();
        if session.is_usable() {
            self.shared.idle.lock().push(session);
        }
        if is_unreplicated {
            return Err(CallFailure::Broken("the wait for the standby was ended".to_owned()));
        }
        answered
    }
}
