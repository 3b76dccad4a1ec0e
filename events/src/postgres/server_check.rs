//! What a server has to be, looked at when a log is opened: new enough, durable, and not behind something that gives each
//! transaction another connection.

use crate::postgres::{
    call_failure::CallFailure,
    open_error::PostgresOpenError,
    session::{DatabaseSession, SessionMaker},
    timing,
};

/// PostgreSQL 15, as the server numbers it.
const OLDEST: i32 = 150_000;

/// Refuses a server that does not keep what it acknowledges, unless that is allowed, and one that is too old.
pub(crate) async fn check(session: &mut DatabaseSession, may_be_lost: bool) -> Result<(), PostgresOpenError> {
    let query = "SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
        current_setting('server_encoding'), current_setting('synchronous_commit'), current_setting('fsync'),
        current_setting('full_page_writes')";
    let rows = session.query(&query.into(), &[], timing::WRITE_CALL).await?;
    let row = rows.first().ok_or_else(|| PostgresOpenError::Database("a query gave no row".to_owned()))?;
    if row.try_get::<_, i32>(0).map_err(CallFailure::from)? < OLDEST {
        return Err(PostgresOpenError::ServerVersion(row.try_get(1).map_err(CallFailure::from)?));
    }
    let encoding: String = row.try_get(2).map_err(CallFailure::from)?;
    if encoding != "UTF8" {
        return Err(PostgresOpenError::Encoding(encoding));
    }
    let durable: [(usize, &'static str, &[&str]); 3] = [
        (3, "synchronous_commit", &["on", "remote_apply"]),
        (4, "fsync", &["on"]),
        (5, "full_page_writes", &["on"]),
    ];
    for (column, setting, safe) in durable {
        let value: String = row.try_get(column).map_err(CallFailure::from)?;
        if !may_be_lost && !safe.contains(&&*value) {
            return Err(PostgresOpenError::NotDurable { setting, value });
        }
    }
    Ok(())
}

/// Refuses a pooler that shares connections between transactions: behind one, two sessions that are open at once are
/// served by the same process of the server. One that gives them two by chance is not noticed.
pub(crate) async fn check_direct(
    session: &mut DatabaseSession,
    sessions: &SessionMaker,
) -> Result<(), PostgresOpenError> {
    let process = "SELECT pg_backend_pid()".into();
    let mut other = sessions.connect().await?;
    let mut processes = Vec::new();
    for _ in 0..2 {
        processes.push((session.value::<i32>(&process).await?, other.value::<i32>(&process).await?));
    }
    let is_direct = processes.iter().all(|pair| Some(pair) == processes.first() && pair.0 != pair.1);
    if is_direct { Ok(()) } else { Err(PostgresOpenError::TransactionPooling) }
}
