//! The queries that run every minute and every hour do not read the whole table.

use rusqlite::Connection;

use super::*;
use crate::projections::ViewTables;

/// SQLite's plan for a query, over tables of this release.
fn plan(sql: impl Fn(ViewTables) -> String) -> Vec<String> {
    let conn = Connection::open_in_memory().unwrap();
    let tables = ViewTables::new(1, InboxProjection::VERSION);
    inbox_tables::create(&conn, tables).unwrap();
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", sql(tables))).unwrap();
    let mut rows = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push(row.get::<_, String>("detail").unwrap());
    }
    plan
}

/// The whole plan is one search in this index: no table is scanned, and nothing is sorted.
fn searches(plan: &[String], index: &str) -> bool {
    matches!(plan, [only] if only.starts_with("SEARCH ") && only.contains(&format!(" INDEX {index} (")))
}

#[test]
fn a_query_for_open_conversations_reads_no_closed_ones() {
    let plan = plan(open_sql);
    assert!(searches(&plan, "inbox_1_open"), "{plan:?}");
}

#[test]
fn a_query_for_old_conversations_reads_no_others() {
    let plan = plan(closed_sql);
    assert!(searches(&plan, "inbox_1_closed"), "{plan:?}");
}

#[test]
fn a_query_for_a_users_claims_reads_no_others() {
    for sql in [inbox_tables::claims_sql, inbox_tables::before_claims_sql] {
        let plan = plan(sql);
        assert!(matches!(&plan[..], [only] if only.starts_with("SEARCH ")), "{plan:?}");
    }
}

#[test]
fn closed_conversations_come_page_by_page_the_oldest_first() {
    let conn = Connection::open_in_memory().unwrap();
    let tables = ViewTables::new(1, InboxProjection::VERSION);
    inbox_tables::create(&conn, tables).unwrap();
    let put = |tenant: &str, session: &str, last_at: i64, is_open: bool| {
        let (tenant, session) = (TenantId::parse(tenant).unwrap(), SessionId::parse(session).unwrap());
        let row = InboxRow { last_at, is_open, ..InboxRow::default() };
        inbox_tables::InboxRows::prepare(&conn, tables)
            .unwrap()
            .store((&tenant, &session), &row, None)
            .unwrap();
    };
    put("b", "1", 10, false);
    put("a", "2", 10, false);
    put("a", "1", 30, false);
    put("a", "3", 20, true);
    put("a", "4", 5, false);
    put("a", "5", 31, false);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let before = Timestamp::from_millis(31);
        let page = closed_conversations(&conn, tables, after.as_ref(), before, 1).unwrap();
        let Some(last) = page.last().cloned() else { break };
        after = Some(last);
        found.extend(page.into_iter().map(|closed| format!("{} {}", closed.tenant, closed.session)));
    }
    assert_eq!(found, ["a 4", "a 2", "b 1", "a 1"]);
}
