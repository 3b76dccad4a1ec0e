//! Nodes wake each other when they appended, so that nobody waits for the next poll.
//!
//! A notifying transaction holds a lock of the whole server until its commit is flushed, so a wake-up is never part of an
//! append: it goes after it, over a connection of its own that does not wait for the standby, and several appends share
//! one. A wake-up that is lost costs one poll.

use std::sync::Arc;

use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};

use crate::{
    Position,
    postgres::{CallFailure, DatabaseSession, SchemaName, SessionMaker, timing},
    store::postgres::history::known_end::KnownEnd,
};

/// How many wake-ups wait to be looked at. Any of them will do.
const QUEUE: usize = 16;

/// Hears other nodes, and wakes the follower when the log is further than this node knows.
pub(in crate::store::postgres) async fn listen(
    sessions: SessionMaker,
    schema: SchemaName,
    known: Arc<KnownEnd>,
    woken: Arc<Notify>,
) {
    loop {
        let (heard, mut positions) = mpsc::channel(QUEUE);
        if let Ok(_session) = listening(&sessions, &schema, heard).await {
            // Something may have been notified before.
            woken.notify_one();
            while let Some(position) = positions.recv().await {
                let is_news = |position: u64| Position::from_u64(position) > known.position();
                if position.parse().is_ok_and(is_news) {
                    woken.notify_one();
                }
            }
        }
        sleep(timing::RETRY).await;
    }
}

async fn listening(
    sessions: &SessionMaker,
    schema: &SchemaName,
    heard: mpsc::Sender<String>,
) -> Result<DatabaseSession, CallFailure> {
    let mut session = sessions.connect_heard(heard).await?;
    session.execute(&schema.fill("LISTEN {schema}"), timing::CONNECT).await?;
    Ok(session)
}

/// Tells other nodes how far the log is, until nothing is appended any more.
pub(in crate::store::postgres) async fn announce(
    sessions: SessionMaker,
    schema: SchemaName,
    mut appended: watch::Receiver<Position>,
) {
    let notify = "SELECT pg_notify($1, $2)".into();
    let mut session = None;
    while appended.changed().await.is_ok() {
        sleep(timing::WAKE_UP).await;
        let position = appended.borrow_and_update().to_string();
        if session.is_none() {
            session = announcing(&sessions).await.ok();
        }
        if let Some(open) = &mut session
            && open.query(&notify, &[&schema.as_str(), &position], timing::WRITE_CALL).await.is_err()
        {
            session = None;
            sleep(timing::RETRY).await;
        }
    }
}

async fn announcing(sessions: &SessionMaker) -> Result<DatabaseSession, CallFailure> {
    let mut session = sessions.connect().await?;
    session.execute("SET synchronous_commit = off", timing::CONNECT).await?;
    Ok(session)
}
