//! Sweeping generations, on tables that any projection could have.

use amoiq_events::RecordedEvent;

use super::*;

/// Two tables, one with a key of two columns.
#[derive(Default)]
struct Pairs;

impl Projection for Pairs {
    const NAME: &'static str = "pairs";
    const VERSION: u32 = 1;
    const TABLES: &'static [&'static str] = &["pairs", "singles"];

    fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        conn.execute_batch(&format!(
            "CREATE TABLE {} (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
            CREATE TABLE {} (number INTEGER PRIMARY KEY);",
            tables.name("pairs"),
            tables.name("singles")
        ))?;
        Ok(())
    }

    fn fold(&mut self, _: &Connection, _: ViewTables, _: &RecordedEvent) -> Result<(), ViewError> {
        Ok(())
    }

    fn held(&self) -> usize {
        0
    }

    fn portions(self, _: usize) -> Vec<Self> {
        Vec::new()
    }

    fn store(&self, _: &Connection, _: ViewTables) -> Result<(), ViewError> {
        Ok(())
    }
}

#[test]
fn tables_that_do_not_serve_are_removed_in_portions_and_serving_ones_stay() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(CREATE).unwrap();
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)";
    let fill = |tables: ViewTables| {
        let (pairs, singles) = (tables.name("pairs"), tables.name("singles"));
        let sql = format!(
            "{numbers} INSERT INTO {pairs} SELECT i % 7, i FROM n; {numbers} INSERT INTO {singles} SELECT i FROM n;"
        );
        conn.execute_batch(&sql).unwrap();
    };
    let old = ViewGeneration::create::<Pairs>(&conn, Epoch(1)).unwrap();
    fill(old.tables);
    old.serve::<Pairs>(&conn).unwrap();
    assert!(is_swept(&conn).unwrap() && !sweep::<Pairs>(&conn).unwrap());
    let new = ViewGeneration::create::<Pairs>(&conn, Epoch(1)).unwrap();
    fill(new.tables);
    assert!(!is_swept(&conn).unwrap(), "one is being filled");
    new.serve::<Pairs>(&conn).unwrap();

    let mut steps = 0;
    loop {
        let before = conn.total_changes();
        if !sweep::<Pairs>(&conn).unwrap() {
            break;
        }
        let removed = conn.total_changes() - before;
        assert!(removed <= 2 * SWEEP_ROWS as u64 + 1, "{removed} at once");
        steps += 1;
    }
    assert_eq!(steps, 5, "two portions of each table, and the rest of both");
    assert!(is_swept(&conn).unwrap());
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM sqlite_master WHERE name LIKE '%\\_1' ESCAPE '\\'"), 0);
    for table in ["pairs", "singles"] {
        assert_eq!(count(&format!("SELECT count(*) FROM {}", new.tables.name(table))), 5_000);
    }
}
