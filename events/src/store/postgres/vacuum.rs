//! The last step of an erasure: dead rows are removed, so that nothing reads them any more, and what keeps them from being
//! removed is named.
//!
//! Their bytes stay in the pages of the table until the server overwrites them, which an operator's rewrite of the table does
//! at once, and in the write-ahead log, on standbys and in backups as long as these are kept.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    postgres::{CallFailure, DatabaseSession, SchemaName, SessionMaker, timing},
    store::AppendError,
};

/// How long it waits for those who still read what was removed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the database is: the next transaction, and the end of the write-ahead log.
const NOW: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::xid::text, pg_current_wal_lsn()::text";

/// Who may still read what was removed before a place that [`NOW`] told. Sessions of other users are told only to a member
/// of `pg_read_all_stats`.
const HOLDERS: &str = "
    SELECT format('the transaction of process %s (%s) since %s', a.pid, a.application_name, a.xact_start)
    FROM pg_stat_activity a
    WHERE a.pid <> pg_backend_pid() AND age(a.backend_xmin) > age($1::text::xid)
        AND (a.datname = current_database() OR a.backend_type = 'walsender')
        AND a.backend_type <> 'autovacuum worker'
    UNION ALL
    SELECT format('the prepared transaction %s', p.gid) FROM pg_prepared_xacts p
    WHERE p.database = current_database() AND age(p.transaction) > age($1::text::xid)
    UNION ALL
    SELECT format('the replication slot %s, which nobody uses', r.slot_name) FROM pg_replication_slots r
    WHERE NOT r.active AND (r.restart_lsn < $2::text::pg_lsn OR age(r.xmin) > age($1::text::xid))";

/// Removes dead rows, and fails when some of them are held back.
pub(super) async fn vacuum(sessions: SessionMaker, schema: SchemaName) -> Result<(), AppendError> {
    let mut session = sessions.connect().await?.without_time_limit().await?;
    let now = session.query(&NOW.into(), &[], timing::WRITE_CALL).await?;
    let row = now.first().ok_or_else(|| CallFailure::Refused("a query gave no row".to_owned()))?;
    let (transaction, end) = (text(row, 0)?, text(row, 1)?);
    let deadline = Instant::now() + PATIENCE;
    let mut holders = holders(&mut session, &transaction, &end).await?;
    while !holders.is_empty() && Instant::now() < deadline {
        sleep(timing::RETRY).await;
        holders = self::holders(&mut session, &transaction, &end).await?;
    }
    session.execute(&schema.fill("VACUUM {schema}.events, {schema}.streams"), timing::VACUUM).await?;
    if holders.is_empty() {
        return Ok(());
    }
    Err(AppendError::Unavailable(format!("what was removed is held back by {}", holders.join("; "))))
}

async fn holders(
    session: &mut DatabaseSession,
    transaction: &str,
    end: &str,
) -> Result<Vec<String>, CallFailure> {
    let rows = session.query(&HOLDERS.into(), &[&transaction, &end], timing::WRITE_CALL).await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

fn text(row: &tokio_postgres::Row, column: usize) -> Result<String, CallFailure> {
    Ok(row.try_get(column)?)
}
