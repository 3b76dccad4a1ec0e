//! A projection that stores each position once, a log to fold, and helpers to read the tables.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use amoiq_actors::projections::{
    Projection, ProjectionProgress, Projector, RebuildHandle, RebuildOutcome, RebuildReport, ViewError,
    ViewGeneration, ViewStore, ViewTables,
};
use amoiq_events::{Event, EventLog, NewEvent, RecordedEvent, StreamName, codec, store::ExpectedVersion};
use amoiq_testkit::stores::ScriptedStore;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::given::{DEADLINE, Given, id, in_real_time, tenant};

/// Stores each position once; the table would refuse a second time. Version 3 still serves the
/// tables of version 1.
#[derive(Default)]
pub(crate) struct Positions<const VERSION: u32>(Vec<i64>);

impl<const VERSION: u32> Projection for Positions<VERSION> {
    const NAME: &'static str = "positions";
    const VERSION: u32 = VERSION;
    const STILL_SERVES: &'static [u32] = if VERSION == 3 { &[1] } else { &[] };
    const TABLES: &'static [&'static str] = &["positions"];

    fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        conn.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS made (number INTEGER PRIMARY KEY);
            INSERT INTO made DEFAULT VALUES;
            CREATE TABLE {} (position INTEGER PRIMARY KEY);",
            tables.name("positions")
        ))?;
        Ok(())
    }

    fn fold(&mut self, _: &Connection, _: ViewTables, event: &RecordedEvent) -> Result<(), ViewError> {
        let _event: Event = codec::decode(event)?;
        self.0.push(event.position.as_u64().cast_signed());
        Ok(())
    }

    fn held(&self) -> usize {
        self.0.len()
    }

    fn portions(self, most: usize) -> Vec<Self> {
        self.0.chunks(most).map(|some| Self(some.to_vec())).collect()
    }

    fn store(&self, conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        let sql = format!("INSERT INTO {} VALUES (?1)", tables.name("positions"));
        for position in &self.0 {
            conn.execute(&sql, [position])?;
        }
        Ok(())
    }
}

/// Runs a projection until its own tables contain the whole log, and ends it.
pub(crate) fn run<P: Projection>(file: &Path, store: &ScriptedStore) {
    in_real_time(async {
        let progress = start::<P>(file, store);
        progress.reach(store.head(), DEADLINE).await.expect("the projection");
    });
}

pub(crate) fn start<P: Projection>(file: &Path, store: &ScriptedStore) -> ProjectionProgress {
    start_with_rebuilds::<P>(file, store).0
}

pub(crate) fn start_with_rebuilds<P: Projection>(
    file: &Path,
    store: &ScriptedStore,
) -> (ProjectionProgress, RebuildHandle) {
    Projector::<P>::start_with_rebuilds(&ViewStore::open(file).expect("views.db"), &store.shared_log())
}

/// A projection whose first tables contain the whole log.
pub(crate) async fn served(file: &Path, store: &ScriptedStore) -> (ProjectionProgress, RebuildHandle) {
    let (progress, rebuilds) = start_with_rebuilds::<Positions<1>>(file, store);
    progress.reach(store.head(), DEADLINE).await.expect("the projection");
    assert_eq!(ended(&rebuilds).await.outcome, Some(RebuildOutcome::Done), "the first tables");
    (progress, rebuilds)
}

/// Waits until a rebuild has ended.
pub(crate) async fn ended(rebuilds: &RebuildHandle) -> RebuildReport {
    until(|| !matches!(rebuilds.report().outcome, None | Some(RebuildOutcome::None))).await;
    rebuilds.report()
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The tables that serve.
pub(crate) fn serving(file: &Path) -> ViewTables {
    let conn = Connection::open(file).expect("views.db");
    ViewGeneration::serving(&conn, "positions").expect("a catalogue").expect("tables that serve").tables
}

/// The positions in the table that serves, and how often one was made.
pub(crate) fn found(file: &Path) -> (Vec<i64>, i64) {
    let conn = Connection::open(file).expect("views.db");
    let sql = format!("SELECT position FROM {} ORDER BY position", serving(file).name("positions"));
    let mut statement = conn.prepare(&sql).expect("a table");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    let made = conn.query_row("SELECT count(*) FROM made", [], |row| row.get(0)).expect("a table");
    (rows.collect::<Result<_, _>>().expect("rows"), made)
}

pub(crate) fn positions(store: &ScriptedStore) -> Vec<i64> {
    let log = in_real_time(store.log());
    log.iter().map(|event| event.position.as_u64().cast_signed()).collect()
}

pub(crate) fn log_of(messages: u32) -> ScriptedStore {
    let store = ScriptedStore::new();
    say(&store, messages);
    store
}

pub(crate) fn say(store: &ScriptedStore, messages: u32) {
    in_real_time(speak(store, messages));
}

pub(crate) async fn speak(store: &ScriptedStore, messages: u32) {
    let given = Given { store: store.clone(), ..Given::new() }.restarted();
    for number in 0..messages {
        given.say("s", &format!("message {number}")).await;
    }
}

/// Appends an event that no release can read. Returns its position.
pub(crate) async fn poison(store: &ScriptedStore) -> i64 {
    let given = Given::new();
    let event = NewEvent {
        id: given.ambient.event_id(),
        kind: "message.created".into(),
        schema: 1,
        time: given.ambient.now(),
        causation: "request".into(),
        actor: "test".into(),
        data: b"{\"text\": ".as_slice().into(),
    };
    let stream = StreamName::session(&tenant(), &id("poisoned"));
    let appended = store.append(stream, ExpectedVersion::Any, vec![event]).await.expect("it is appended");
    appended.position.as_u64().cast_signed()
}

pub(crate) fn views_db() -> (Box<Path>, TempDir) {
    let files = tempfile::tempdir().expect("a directory");
    (files.path().join("views.db").into(), files)
}
