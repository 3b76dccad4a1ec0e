//! How the queries find what they look for.

use rusqlite::Connection;

use super::{attempt_rows, delivery_rows, migration, removal};

fn plan(conn: &Connection, sql: &str) -> String {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push(row.get::<_, String>(3).unwrap());
    }
    plan.join("; ")
}

#[test]
fn no_query_reads_or_sorts_more_than_it_answers() {
    let conn = Connection::open_in_memory().unwrap();
    migration::prepare(&conn).unwrap();
    for (sql, way) in [
        (delivery_rows::OF_STATUS, "INDEX deliveries_by_status (lane=? AND status=?)"),
        (delivery_rows::PAGE, "PRIMARY KEY (lane=? AND position<?)"),
        (delivery_rows::PAGE_OF_STATUS, "INDEX deliveries_by_status (lane=? AND status=? AND position<?)"),
        (delivery_rows::OF_MESSAGE, "INDEX deliveries_by_message (lane=? AND message_id=?)"),
        (delivery_rows::OLDEST_SETTLED, "INDEX deliveries_by_time (lane=?)"),
        (delivery_rows::NEXT, "PRIMARY KEY (lane=? AND position>?)"),
        (attempt_rows::OF_DELIVERY, "PRIMARY KEY (lane=? AND position=?)"),
        (removal::SOME_ATTEMPTS, "PRIMARY KEY (lane=? AND position=? AND number=?)"),
        (removal::SOME_DELIVERIES, "PRIMARY KEY (lane=? AND position=?)"),
    ] {
        let plan = plan(&conn, sql);
        assert!(plan.contains(way), "{sql}: {plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
