//! `outbox.db`, or its tables in a backup: its rows are what was written, no lane has passed what is not
//! there, what waits for a delivery is in the log, and lanes count what they have.
//!
//! Another epoch is no damage: what stands behind the log's end then is clamped at the next start, so only
//! the rows are checked. A lane that is being removed counts nothing right until it is gone: that its
//! endpoint was deleted is in the log, and its numbers are not compared.

use rusqlite::{Connection, OptionalExtension};

use super::{
    super::{read_only, schema},
    Kind, StoreVerification, pages, rows,
};
use crate::{Position, StreamName, TenantId};

/// How many attempts of a delivery are kept: the schedule five times over.
pub const KEPT_ATTEMPTS: u32 = 50;

/// What a lane counts its deliveries by; each stands where the number of its status is.
const STATUSES: [&str; 5] = ["pending", "delivered", "failed", "refused", "skipped"];

/// The same in the first release.
const FIRST_STATUSES: [&str; 3] = ["pending", "delivered", "failed"];

/// What a backup calls the outbox's tables.
const PACKED: &str = "outbox_";

/// Compares `outbox.db` with the log.
pub(super) fn check(outbox: &Connection, log: &Connection, found: &mut StoreVerification) {
    pages(outbox, "outbox.db", Kind::Outbox, found, &mut |_| {});
    Checking { outbox, prefix: "", log, found }.run();
}

/// Compares the outbox in a backup's file with the log in it. Another file has none.
pub(super) fn check_packed(file: &Connection, found: &mut StoreVerification) {
    let sql = "SELECT count(*) FROM sqlite_master WHERE name = 'outbox_lanes'";
    if file.query_row(sql, [], |row| row.get::<_, i64>(0)).is_ok_and(|count| count > 0) {
        Checking { outbox: file, prefix: PACKED, log: file, found }.run();
    }
}

struct Checking<'a> {
    outbox: &'a Connection,
    prefix: &'static str,
    log: &'a Connection,
    found: &'a mut StoreVerification,
}

/// A row of `lanes`, as far as it is compared.
struct Lane {
    id: i64,
    tenant: String,
    webhook: String,
    /// The furthest of its places in the log.
    furthest: Position,
    /// By status, as [`Checking::statuses`] names them.
    counts: Vec<i64>,
}

impl Checking<'_> {
    fn run(mut self) {
        if let Err(error) = self.compare() {
            self.problem(Position::START, &error.to_string());
        }
    }

    /// What is in the outbox is read as it is at one moment, and before the log is.
    fn compare(&mut self) -> rusqlite::Result<()> {
        let outbox = self.outbox;
        let _moment = outbox.unchecked_transaction()?;
        rows::check(outbox, "outbox.db", self.prefix, Kind::Outbox, self.found)?;
        let sql = self.sql("SELECT epoch FROM {}meta");
        let epoch: Option<i64> = outbox.query_row(&sql, [], |row| row.get(0))?;
        if epoch.map(i64::cast_unsigned) != schema::meta(self.log, "epoch").ok() {
            self.found.note("outbox.db is of another epoch: its cursors are clamped at the next start");
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
        self.strays("deliveries", "lane NOT IN (SELECT id FROM {}lanes)")?;
        self.strays("attempts", "(lane, position) NOT IN (SELECT lane, position FROM {}deliveries)")
    }

    fn lanes(&self) -> rusqlite::Result<Vec<Lane>> {
        let statuses = self.statuses()?;
        let sql = self.sql(&format!(
            "SELECT id, tenant, webhook, max(cursor, ifnull(replay_cursor, 0), ifnull(replay_until, 0)), \
             {} FROM {{}}lanes",
            statuses.join(", ")
        ));
        let mut statement = self.outbox.prepare(&sql)?;
        let lanes = statement.query_map([], |row| {
            Ok(Lane {
                id: row.get(0)?,
                tenant: row.get(1)?,
                webhook: row.get(2)?,
                furthest: Position::from_u64(row.get::<_, i64>(3)?.cast_unsigned()),
                counts: (4..4 + statuses.len()).map(|column| row.get(column)).collect::<Result<_, _>>()?,
            })
        })?;
        lanes.collect()
    }

    /// The columns that count a lane's deliveries, each where the number of its status is. The first release knew
    /// three.
    fn statuses(&self) -> rusqlite::Result<&'static [&'static str]> {
        let sql = self.sql("SELECT count(*) FROM pragma_table_info('{}lanes') WHERE name = 'skipped'");
        let is_of_the_first = self.outbox.query_row(&sql, [], |row| row.get::<_, i64>(0))? == 0;
        Ok(if is_of_the_first { &FIRST_STATUSES } else { &STATUSES })
    }

    /// Neither the lane nor any of its deliveries stands behind the log's end.
    fn places(&mut self, lane: &Lane) -> rusqlite::Result<()> {
        let sql = self.sql("SELECT ifnull(max(position), 0) FROM {}deliveries WHERE lane = ?1");
        let last: i64 = self.outbox.query_row(&sql, [lane.id], |row| row.get(0))?;
        let furthest = lane.furthest.max(Position::from_u64(last.cast_unsigned()));
        let head = read_only::head(self.log)?;
        if furthest > head {
            let what = format!("lane `{}` stands at {furthest}, the log ends at {head}", lane.webhook);
            self.problem(furthest, &what);
        }
        Ok(())
    }

    /// What waits for its delivery is the event that it was, or is erased.
    fn waiting(&mut self, lane: &Lane) -> rusqlite::Result<()> {
        let sql =
            self.sql("SELECT position, event_id FROM {}deliveries WHERE lane = ?1 AND status IN (0, 3)");
        let mut statement = self.outbox.prepare(&sql)?;
        let mut waiting = statement.query([lane.id])?;
        while let Some(row) = waiting.next()? {
            let (number, id): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let position = Position::from_u64(number.cast_unsigned());
            let mut stored = self.log.prepare_cached("SELECT id FROM log WHERE position = ?1")?;
            let stored: Option<Vec<u8>> = stored.query_row([number], |row| row.get(0)).optional()?;
            let webhook = &lane.webhook;
            match stored {
                Some(stored) if stored == id => {}
                Some(_) => self.problem(position, &format!("lane `{webhook}` waits for another event")),
                // Events up to the floor may have been erased; asked last, because it moves with an erasure.
                None if position <= Position::from_u64(schema::meta(self.log, "floor")?) => {}
                None => self.problem(position, &format!("lane `{webhook}` waits for what is not in the log")),
            }
        }
        Ok(())
    }

    /// What the lane says that it has.
    fn counts(&self, lane: &Lane) -> rusqlite::Result<Option<(Position, String)>> {
        let sql = self.sql("SELECT count(*) FROM {}deliveries WHERE lane = ?1 AND status = ?2");
        let mut statement = self.outbox.prepare(&sql)?;
        let counts: Vec<i64> = (0_i64..)
            .zip(&lane.counts)
            .map(|(status, _)| statement.query_row((lane.id, status), |row| row.get(0)))
            .collect::<Result<_, _>>()?;
        let Lane { webhook, counts: told, .. } = lane;
        let what = format!("lane `{webhook}` counts {told:?} by status, there are {counts:?}");
        Ok((counts != *told).then_some((Position::START, what)))
    }

    /// What each delivery says that was tried.
    fn attempts(&self, lane: &Lane) -> rusqlite::Result<Vec<(Position, String)>> {
        let sql = self.sql(
            "SELECT delivery.position FROM {}deliveries AS delivery LEFT JOIN (SELECT position, count(*) AS kept \
             FROM {}attempts WHERE lane = ?1 GROUP BY position) AS made ON made.position = delivery.position \
             WHERE delivery.lane = ?1 AND ifnull(made.kept, 0) <> min(delivery.attempts, ?2)",
        );
        let mut statement = self.outbox.prepare(&sql)?;
        let wrong = statement.query_map((lane.id, KEPT_ATTEMPTS), |row| {
            let what = format!("lane `{}` does not have the attempts that it counts", lane.webhook);
            Ok((Position::from_u64(row.get::<_, i64>(0)?.cast_unsigned()), what))
        })?;
        wrong.collect()
    }

    /// Rows that belong to nothing.
    fn strays(&mut self, table: &str, condition: &str) -> rusqlite::Result<()> {
        let sql = self.sql(&format!("SELECT count(*) FROM {{}}{table} WHERE {condition}"));
        let count: i64 = self.outbox.query_row(&sql, [], |row| row.get(0))?;
        if count > 0 {
            self.problem(Position::START, &format!("{count} rows of `{table}` belong to nothing"));
        }
        Ok(())
    }

    /// Whether the lane's endpoint was deleted. Looked for through all of the log, so only when it matters.
    fn is_deleted(&self, lane: &Lane) -> rusqlite::Result<bool> {
        let Ok(tenant) = TenantId::try_from(lane.tenant.clone()) else { return Ok(false) };
        let sql = "SELECT EXISTS (SELECT 1 FROM log WHERE stream = ?1 AND type = 'webhook.deleted' \
                   AND instr(CAST(data AS TEXT), ?2) > 0)";
        let id = format!("\"{}\"", lane.webhook);
        self.log.query_row(sql, (StreamName::tenant(&tenant).as_str(), id), |row| row.get(0))
    }

    fn problem(&mut self, position: Position, what: &str) {
        self.found.found(Kind::Outbox, position, "", format!("outbox.db: {what}"));
    }

    /// A query over the outbox's tables as they are called here.
    fn sql(&self, text: &str) -> String {
        text.replace("{}", self.prefix)
    }
}
