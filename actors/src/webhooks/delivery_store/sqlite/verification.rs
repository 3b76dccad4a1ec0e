//! Verifies `outbox.db`, or its tables in a backup: its rows are what was written, no lane has passed what is not
//! there, what waits for a delivery is in the log, and lanes count what they have.
//!
//! Another epoch is no damage: positions after the log's end are clamped at the next start, so only the rows are
//! checked. The counts of a lane that is being removed are wrong until it is gone: that its endpoint was deleted is in
//! the log, and its numbers are not compared.

use amoiq_events::{
    Position, StreamName, TenantId,
    store::{
        Epoch,
        sqlite::{CompanionCheck, CompanionDatabase},
    },
};
use rusqlite::Connection;

use crate::webhooks::delivery_store::KEPT_ATTEMPTS;

/// `outbox.db`, as it is verified, backed up and restored with the log.
pub const DELIVERY_DATABASE: CompanionDatabase = CompanionDatabase {
    name: "outbox",
    copying: Some("bytes of the outbox"),
    advice: "stop the service and take outbox.db out of a backup (docs/operations/runbook.md, A corrupted file)",
    verify,
};

/// The columns by which a lane counts its deliveries, each at the number of its status.
const STATUSES: [&str; 5] = ["pending", "delivered", "failed", "refused", "skipped"];

/// The same in the first release.
const FIRST_STATUSES: [&str; 3] = ["pending", "delivered", "failed"];

fn verify(check: &mut CompanionCheck<'_>) -> rusqlite::Result<()> {
    // What is in the database is read as it is at one moment, and before the log is.
    let database = check.database;
    let _moment = database.unchecked_transaction()?;
    check.check_rows()?;
    DeliveryCheck { database, check }.compare()
}

/// A comparison of the deliveries with the log.
struct DeliveryCheck<'a, 'b> {
    database: &'b Connection,
    check: &'a mut CompanionCheck<'b>,
}

/// A row of `lanes`, as far as it is compared.
struct LaneCounts {
    id: i64,
    tenant: String,
    webhook: String,
    /// The furthest of its places in the log.
    furthest: Position,
    /// By status, as [`DeliveryCheck::statuses`] names them.
    counts: Vec<i64>,
}

impl DeliveryCheck<'_, '_> {
    fn compare(mut self) -> rusqlite::Result<()> {
        let sql = self.sql("SELECT epoch FROM {}meta");
        let epoch: Option<i64> = self.database.query_row(&sql, [], |row| row.get(0))?;
        if epoch.map(|number| Epoch(number.cast_unsigned())) != self.check.log.epoch() {
            self.check.note("is of another epoch: its cursors are clamped at the next start");
            return Ok(());
        }
        for lane in self.lanes()? {
            self.places(&lane)?;
            self.waiting(&lane)?;
            let wrong = self.counts(&lane)?.into_iter().chain(self.attempts(&lane)?).collect::<Vec<_>>();
            if !wrong.is_empty() && !self.is_deleted(&lane)? {
                wrong.iter().for_each(|(position, what)| self.problem(*position, what));
            }
        }
        self.orphans("deliveries", "lane NOT IN (SELECT id FROM {}lanes)")?;
        self.orphans("attempts", "(lane, position) NOT IN (SELECT lane, position FROM {}deliveries)")
    }

    fn lanes(&self) -> rusqlite::Result<Vec<LaneCounts>> {
        let statuses = self.statuses()?;
        let sql = self.sql(&format!(
            "SELECT id, tenant, webhook, max(cursor, ifnull(replay_cursor, 0), ifnull(replay_until, 0)), \
             {} FROM {{}}lanes",
            statuses.join(", ")
        ));
        let mut statement = self.database.prepare(&sql)?;
        let lanes = statement.query_map([], |row| {
            Ok(LaneCounts {
                id: row.get(0)?,
                tenant: row.get(1)?,
                webhook: row.get(2)?,
                furthest: row.get(3)?,
                counts: (4..4 + statuses.len()).map(|column| row.get(column)).collect::<Result<_, _>>()?,
            })
        })?;
        lanes.collect()
    }

    /// The columns that count a lane's deliveries, each where the number of its status is. The first release knew
    /// three.
    fn statuses(&self) -> rusqlite::Result<&'static [&'static str]> {
        let sql = self.sql("SELECT count(*) FROM pragma_table_info('{}lanes') WHERE name = 'skipped'");
        let is_of_the_first = self.database.query_row(&sql, [], |row| row.get::<_, i64>(0))? == 0;
        Ok(if is_of_the_first { &FIRST_STATUSES } else { &STATUSES })
    }

    /// Neither the lane nor any of its deliveries is after the log's end.
    fn places(&mut self, lane: &LaneCounts) -> rusqlite::Result<()> {
        let sql = self.sql("SELECT ifnull(max(position), 0) FROM {}deliveries WHERE lane = ?1");
        let last: Position = self.database.query_row(&sql, [lane.id], |row| row.get(0))?;
        let furthest = lane.furthest.max(last);
        let head = self.check.log.head()?;
        if furthest > head {
            let what = format!("lane `{}` stands at {furthest}, the log ends at {head}", lane.webhook);
            self.problem(furthest, &what);
        }
        Ok(())
    }

    /// What waits for its delivery is in the log as it was, or is erased.
    fn waiting(&mut self, lane: &LaneCounts) -> rusqlite::Result<()> {
        let sql =
            self.sql("SELECT position, event_id FROM {}deliveries WHERE lane = ?1 AND status IN (0, 3)");
        let mut statement = self.database.prepare(&sql)?;
        let mut waiting = statement.query([lane.id])?;
        while let Some(row) = waiting.next()? {
            let (position, id): (Position, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let stored = self.check.log.event_id_at(position)?;
            let webhook = &lane.webhook;
            match stored {
                Some(stored) if stored == id => {}
                Some(_) => self.problem(position, &format!("lane `{webhook}` waits for another event")),
                // Asked last, because it moves with an erasure.
                None if position <= self.check.log.removed_up_to()? => {}
                None => self.problem(position, &format!("lane `{webhook}` waits for what is not in the log")),
            }
        }
        Ok(())
    }

    /// What the lane says that it has.
    fn counts(&self, lane: &LaneCounts) -> rusqlite::Result<Option<(Position, String)>> {
        let sql = self.sql("SELECT count(*) FROM {}deliveries WHERE lane = ?1 AND status = ?2");
        let mut statement = self.database.prepare(&sql)?;
        let counts: Vec<i64> = (0_i64..)
            .zip(&lane.counts)
            .map(|(status, _)| statement.query_row((lane.id, status), |row| row.get(0)))
            .collect::<Result<_, _>>()?;
        let LaneCounts { webhook, counts: told, .. } = lane;
        let what = format!("lane `{webhook}` counts {told:?} by status, there are {counts:?}");
        Ok((counts != *told).then_some((Position::START, what)))
    }

    /// What each delivery says that was tried.
    fn attempts(&self, lane: &LaneCounts) -> rusqlite::Result<Vec<(Position, String)>> {
        let sql = self.sql(
            "SELECT delivery.position FROM {}deliveries AS delivery LEFT JOIN (SELECT position, count(*) AS kept \
             FROM {}attempts WHERE lane = ?1 GROUP BY position) AS made ON made.position = delivery.position \
             WHERE delivery.lane = ?1 AND ifnull(made.kept, 0) <> min(delivery.attempts, ?2)",
        );
        let mut statement = self.database.prepare(&sql)?;
        let wrong = statement.query_map((lane.id, KEPT_ATTEMPTS), |row| {
            let what = format!("lane `{}` does not have the attempts that it counts", lane.webhook);
            Ok((row.get(0)?, what))
        })?;
        wrong.collect()
    }

    /// Rows that belong to nothing.
    fn orphans(&mut self, table: &str, condition: &str) -> rusqlite::Result<()> {
        let sql = self.sql(&format!("SELECT count(*) FROM {{}}{table} WHERE {condition}"));
        let count: i64 = self.database.query_row(&sql, [], |row| row.get(0))?;
        if count > 0 {
            self.problem(Position::START, &format!("{count} rows of `{table}` belong to nothing"));
        }
        Ok(())
    }

    /// Whether the lane's endpoint was deleted. Looked for through all of the log, so only when it matters.
    fn is_deleted(&self, lane: &LaneCounts) -> rusqlite::Result<bool> {
        let Ok(tenant) = TenantId::try_from(lane.tenant.clone()) else { return Ok(false) };
        let id = format!("\"{}\"", lane.webhook);
        self.check.log.has_event(&StreamName::tenant(&tenant), "webhook.deleted", &id)
    }

    fn problem(&mut self, position: Position, what: &str) {
        self.check.defect(position, what);
    }

    /// A query over the database's tables as they are named here.
    fn sql(&self, text: &str) -> String {
        text.replace("{}", self.check.prefix)
    }
}
