//! How much a rebuild holds at a time, and on which thread it works.

use std::cell::Cell;

use amoiq_events::{
    Ambient, EventLog, NewEvent, StreamName,
    store::{Epoch, ExpectedVersion, memory::MemoryStore},
};
use tempfile::TempDir;

use super::*;

thread_local! {
    /// Set on the thread where requests would be served.
    static IS_ARBITER: Cell<bool> = const { Cell::new(false) };
}

/// Stores how many events each transaction folded.
#[derive(Default)]
struct Counted(usize);

impl Projection for Counted {
    const NAME: &'static str = "counted";
    const VERSION: u32 = 1;
    const TABLES: &'static [&'static str] = &["counted"];

    fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        let table = tables.name("counted");
        conn.execute_batch(&format!("CREATE TABLE {table} (number INTEGER PRIMARY KEY, events INTEGER)"))?;
        Ok(())
    }

    fn fold(&mut self, _: &Connection, _: ViewTables, _: &RecordedEvent) -> Result<(), ViewError> {
        self.0 += 1;
        Ok(())
    }

    fn held(&self) -> usize {
        self.0
    }

    fn portions(self, _: usize) -> Vec<Self> {
        assert!(!IS_ARBITER.get(), "sorting here makes requests wait");
        vec![self]
    }

    fn store(&self, conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        let sql = format!("INSERT INTO {} (events) VALUES (?1)", tables.name("counted"));
        conn.execute(&sql, [i64::try_from(self.0).unwrap()])?;
        Ok(())
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(work)
}

async fn log_of(events: usize, bytes: usize) -> Arc<dyn EventLog> {
    let (store, ambient) = (MemoryStore::new(), Ambient::system());
    let event = || NewEvent {
        id: ambient.event_id(),
        kind: "node.started".into(),
        schema: 1,
        time: ambient.now(),
        causation: "test".into(),
        actor: "test".into(),
        data: vec![b'x'; bytes].into(),
    };
    for _ in 0..events / 100 {
        let some = (0..100).map(|_| event()).collect();
        store.append(StreamName::node("node"), ExpectedVersion::Any, some).await.unwrap();
    }
    Arc::new(store)
}

fn views() -> (ViewStore, TempDir) {
    let files = tempfile::tempdir().unwrap();
    (ViewStore::open(&files.path().join("views.db")).unwrap(), files)
}

#[test]
fn a_batch_of_large_events_is_small() {
    run(async {
        let large = log_of(3_000, 20_000).await;
        let read = read(&mut LogReader::all(&*large, Position::START)).await.unwrap();
        assert_eq!(read.len(), MAX_READ_EVENTS, "20 MB are enough");
    });
    run(async {
        let small = log_of(3_000, 10).await;
        assert_eq!(read(&mut LogReader::all(&*small, Position::START)).await.unwrap().len(), 3_000);
    });
}

#[test]
fn events_that_the_live_projection_is_ahead_are_folded_in_portions() {
    let (views, files) = views();
    run(async {
        let store = log_of(3_500, 10).await;
        let head = store.head();
        let begun = views.write(move |transaction| {
            let serving = ViewGeneration::create::<Counted>(transaction, Epoch(1))?;
            let serving = ViewGeneration { position: head, ..serving };
            serving.serve::<Counted>(transaction)?;
            ViewGeneration::create::<Counted>(transaction, Epoch(1))
        });
        let generation = begun.await.unwrap();
        let filled = FilledGeneration::<Counted> { generation, skipped: Vec::new(), projection: PhantomData };
        assert_eq!(filled.serve(&views, &*store).await.unwrap(), head);
        let portions = views.read(move |conn| {
            let sql = format!("SELECT events FROM {} ORDER BY number", generation.tables.name("counted"));
            let mut statement = conn.prepare(&sql)?;
            let events = statement.query_map([], |row| row.get(0))?;
            Ok(events.collect::<Result<Vec<i64>, _>>()?)
        });
        assert_eq!(portions.await.unwrap(), [1_000, 1_000, 1_000, 500]);
    });
    drop(files);
}

#[test]
fn changes_are_sorted_where_no_request_waits() {
    let (views, files) = views();
    IS_ARBITER.set(true);
    run(async {
        let store = log_of(200, 10).await;
        let (reports, _) = watch::channel(RebuildReport::default());
        rebuild::<Counted>(&views, &store, None, &reports).await.unwrap();
    });
    drop(files);
}
