//! Rebuilds: the old tables serve until the new ones replace them at once; whatever ends a rebuild
//! before that leaves them as they are.

use std::time::Duration;

use amoiq_actors::projections::{
    DeadLetters, Projection, RebuildOutcome, RebuildUnderway, ViewError, ViewGeneration, ViewTables,
};
use amoiq_events::{EventLog, RecordedEvent, Timestamp};
use rusqlite::Connection;

use crate::{
    given::{DEADLINE, in_real_time},
    projections::given::{
        Positions, ended, found, log_of, poison, positions, run, say, served, serving, speak, start,
        start_with_rebuilds, until, views_db,
    },
};

#[test]
fn a_rebuild_replaces_the_tables_while_the_log_grows() {
    let (file, files) = views_db();
    let store = log_of(3);
    in_real_time(async {
        let (progress, rebuilds) = served(&file, &store).await;
        let before = serving(&file);
        rebuilds.start(None).await.expect("none is under way");
        while rebuilds.report().outcome.is_none() {
            speak(&store, 1).await;
        }
        assert_eq!(rebuilds.report().outcome, Some(RebuildOutcome::Done));
        assert_ne!(serving(&file), before, "other tables serve");
        speak(&store, 2).await;
        progress.reach(store.head(), DEADLINE).await.expect("the new tables follow the log");
    });
    assert_eq!(found(&file), (positions(&store), 2), "each event is in them once");
    drop(files);
}

#[test]
fn a_second_rebuild_is_refused_and_a_cancelled_one_leaves_the_old_tables() {
    let (file, files) = views_db();
    let store = log_of(3);
    in_real_time(async {
        let (progress, rebuilds) = served(&file, &store).await;
        let before = serving(&file);
        // Nothing is written while another connection has the lock, so the rebuild cannot end.
        let lock = Connection::open(&file).expect("views.db");
        lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        rebuilds.start(None).await.expect("none is under way");
        assert_eq!(rebuilds.start(None).await, Err(RebuildUnderway));
        let (cancelled, ()) = tokio::join!(rebuilds.cancel(), async {
            until(|| rebuilds.report().outcome == Some(RebuildOutcome::Cancelled)).await;
            lock.execute_batch("ROLLBACK").expect("no lock");
        });
        assert!(cancelled);
        assert!(!rebuilds.cancel().await, "nothing is left to cancel");
        assert_eq!(serving(&file), before);
        speak(&store, 2).await;
        progress.reach(store.head(), DEADLINE).await.expect("the old tables follow the log");
        rebuilds.start(None).await.expect("it may begin again");
        assert_eq!(ended(&rebuilds).await.outcome, Some(RebuildOutcome::Done));
    });
    assert_eq!(found(&file).0, positions(&store));
    drop(files);
}

#[test]
fn a_new_version_is_filled_automatically_while_the_old_one_serves() {
    let (file, files) = views_db();
    let store = log_of(3);
    run::<Positions<1>>(&file, &store);
    say(&store, 2);
    in_real_time(async {
        // Filling cannot end while an event cannot be read, and the old tables serve up to it.
        let readable = store.head();
        let at = poison(&store).await;
        let (progress, rebuilds) = start_with_rebuilds::<Positions<3>>(&file, &store);
        progress.reach(readable, DEADLINE).await.expect("the old tables follow the log");
        assert!(matches!(ended(&rebuilds).await.outcome, Some(RebuildOutcome::Stopped { .. })));
        assert_eq!(serving(&file).version(), 1);
        rebuilds.start(Some(Timestamp::from_millis(0))).await.expect("none is under way");
        until(|| rebuilds.report().outcome == Some(RebuildOutcome::Done)).await;
        assert_eq!(serving(&file).version(), 3);
        progress.reach(store.head(), DEADLINE).await.expect("the new tables follow the log");
        assert!(!found(&file).0.contains(&at));
    });
    drop(files);
}

#[test]
fn nothing_serves_while_tables_that_cannot_be_right_are_rebuilt() {
    let (file, files) = views_db();
    let store = log_of(3);
    run::<Positions<1>>(&file, &store);
    in_real_time(async {
        poison(&store).await;
        // Version 2 does not know the tables of version 1.
        let (progress, rebuilds) = start_with_rebuilds::<Positions<2>>(&file, &store);
        assert!(matches!(ended(&rebuilds).await.outcome, Some(RebuildOutcome::Stopped { .. })));
        assert!(progress.is_filling());
        let nothing = progress.reach(amoiq_events::Position::START, Duration::from_millis(50)).await;
        assert!(nothing.is_err(), "a reader is told that nothing serves");
        assert!(progress.failure().expect("a reason").contains("it stopped at position"));
    });
    drop(files);
}

#[test]
fn an_event_that_cannot_be_read_stops_a_rebuild_until_an_operator_skips_it() {
    let (file, files) = views_db();
    let store = log_of(3);
    in_real_time(async {
        let (progress, rebuilds) = served(&file, &store).await;
        let before = progress.position();
        let at = poison(&store).await;
        speak(&store, 1).await;
        until(|| progress.failure().is_some()).await;
        assert_eq!(progress.position(), before, "the live projection stands in front of it");

        rebuilds.start(None).await.expect("none is under way");
        let Some(RebuildOutcome::Stopped { position, kind, reason }) = ended(&rebuilds).await.outcome else {
            panic!("{:?}", rebuilds.report());
        };
        assert_eq!((position.as_u64().cast_signed(), kind.as_str()), (at, "message.created"));
        assert!(reason.contains("the data end too early"), "{reason}");
        assert!(DeadLetters::open(files.path()).expect("a list").all().is_empty());

        rebuilds.start(Some(Timestamp::from_millis(0))).await.expect("none is under way");
        until(|| rebuilds.report().outcome == Some(RebuildOutcome::Done)).await;
        progress.reach(store.head(), DEADLINE).await.expect("it goes on behind the event");
        let letters = DeadLetters::open(files.path()).expect("a list").all();
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].position.cast_signed(), letters[0].projection.as_str()), (at, "positions"));

        // The list survives the tables, and the operator need not skip the event again.
        rebuilds.start(None).await.expect("none is under way");
        until(|| rebuilds.report().outcome == Some(RebuildOutcome::Done)).await;
    });
    std::fs::remove_file(&file).expect("views.db");
    let progress = in_real_time(async {
        let (progress, _) = start_with_rebuilds::<Positions<1>>(&file, &store);
        progress.reach(store.head(), DEADLINE).await.map(|()| progress.failure())
    });
    assert_eq!(progress.expect("the projection"), None);
    drop(files);
}

/// Panics where the tables are written.
#[derive(Default)]
struct Panics(Positions<1>);

impl Projection for Panics {
    const NAME: &'static str = "panics";
    const VERSION: u32 = 1;
    const TABLES: &'static [&'static str] = &["positions"];

    fn create(conn: &Connection, tables: ViewTables) -> Result<(), ViewError> {
        Positions::<1>::create(conn, tables)
    }

    fn fold(
        &mut self,
        conn: &Connection,
        tables: ViewTables,
        event: &RecordedEvent,
    ) -> Result<(), ViewError> {
        self.0.fold(conn, tables, event)
    }

    fn held(&self) -> usize {
        self.0.held()
    }

    fn portions(self, most: usize) -> Vec<Self> {
        self.0.portions(most).into_iter().map(Self).collect()
    }

    fn store(&self, _: &Connection, _: ViewTables) -> Result<(), ViewError> {
        assert_eq!(self.held(), 0, "a defect");
        Ok(())
    }
}

#[test]
fn a_thread_that_panicked_is_reported() {
    let (file, files) = views_db();
    let store = log_of(0);
    in_real_time(async {
        let progress = start::<Panics>(&file, &store);
        until(|| !progress.is_filling() && serves(&file, "panics")).await;
        assert_eq!(progress.failure(), None);
        speak(&store, 1).await;
        until(|| progress.failure().is_some()).await;
        assert!(progress.failure().expect("a reason").contains("start the service again"));
    });
    drop(files);
}

#[test]
fn the_old_tables_are_removed_once_others_serve() {
    let (file, files) = views_db();
    let store = log_of(3);
    in_real_time(async {
        let (_progress, rebuilds) = served(&file, &store).await;
        let old = serving(&file).name("positions");
        rebuilds.start(None).await.expect("none is under way");
        until(|| rebuilds.report().outcome == Some(RebuildOutcome::Done)).await;
        let conn = Connection::open(&file).expect("views.db");
        let sql = "SELECT count(*) FROM sqlite_master WHERE name = ?1";
        let count = |name: &str| conn.query_row(sql, [name], |row| row.get::<_, i64>(0)).expect("a count");
        until(|| count(&old) == 0).await;
        assert_eq!(count(&serving(&file).name("positions")), 1);
    });
    drop(files);
}

fn serves(file: &std::path::Path, projection: &'static str) -> bool {
    let conn = Connection::open(file).expect("views.db");
    ViewGeneration::serving(&conn, projection).is_ok_and(|serving| serving.is_some())
}
