//! The projector: from its checkpoint, from nothing when that is of another time, and on after
//! whatever the database refused.

use std::{fs, path::Path, time::Duration};

use amoiq_actors::{
    Inbox, Progress, Projector, Views,
    inbox::{InboxProjection, Proof},
    projector::Projection,
    views::ViewError,
};
use amoiq_events::{
    EventStore, RecordedEvent, UserId,
    session::{Caller, SendMessage},
};
use rusqlite::{Connection, Transaction};
use tempfile::TempDir;

use crate::{
    given::{DEADLINE, Given, cause, id, in_real_time, message, tenant},
    staged::StagedStore,
};

/// Writes down each position once; a second time would be refused by the table.
struct Positions<const VERSION: u32>;

impl<const VERSION: u32> Projection for Positions<VERSION> {
    const NAME: &'static str = "positions";
    const VERSION: u32 = VERSION;

    fn reset(transaction: &Transaction<'_>) -> Result<(), ViewError> {
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS resets (number INTEGER PRIMARY KEY);
            INSERT INTO resets DEFAULT VALUES;
            DROP TABLE IF EXISTS positions;
            CREATE TABLE positions (position INTEGER PRIMARY KEY);",
        )?;
        Ok(())
    }

    fn fold(transaction: &Transaction<'_>, events: &[RecordedEvent]) -> Result<(), ViewError> {
        for event in events {
            transaction
                .execute("INSERT INTO positions VALUES (?1)", [event.position.as_u64().cast_signed()])?;
        }
        Ok(())
    }
}

#[test]
fn a_projector_goes_on_from_its_checkpoint() {
    let (file, files) = views_db();
    let store = log_of(3);
    run::<Positions<1>>(&file, &store);
    say(&store, 2);
    run::<Positions<1>>(&file, &store);
    assert_eq!(found(&file), (positions(&store), 1), "made once, and each event is in it once");
    drop(files);
}

#[test]
fn a_projector_begins_from_nothing_in_another_epoch_or_version() {
    let (file, files) = views_db();
    let store = log_of(3);
    run::<Positions<1>>(&file, &store);
    run::<Positions<1>>(&file, &store.with_epoch(2));
    assert_eq!(found(&file), (positions(&store), 2), "another history");
    run::<Positions<1>>(&file, &store.with_epoch(2));
    assert_eq!(found(&file), (positions(&store), 2), "the same history");
    run::<Positions<2>>(&file, &store.with_epoch(2));
    assert_eq!(found(&file), (positions(&store), 3), "other tables");
    drop(files);
}

#[test]
fn a_projector_goes_on_after_the_database_refused() {
    let (file, files) = views_db();
    let store = log_of(3);
    in_real_time(async {
        let progress = start::<Positions<1>>(&file, &store);
        progress.reach(store.head(), DEADLINE).await.expect("the projection");
        let conn = Connection::open(&file).expect("views.db");
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON positions
            BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
        conn.execute_batch(refuse).expect("a trigger");
        let before = progress.position();
        speak(&store, 2).await;
        let behind = progress.reach(store.head(), Duration::from_millis(100)).await;
        assert!(matches!(behind, Err(ViewError::Behind)), "{behind:?}");
        assert_eq!(progress.position(), before, "what was not folded is not said to be");
        conn.execute_batch("DROP TRIGGER refuse").expect("no trigger");
        progress.reach(store.head(), DEADLINE).await.expect("the projection");
    });
    assert_eq!(found(&file), (positions(&store), 1));
    drop(files);
}

#[test]
fn a_damaged_database_is_made_again() {
    let garbage = |_| vec![0x5a; 64 * 1024];
    let other_file = |_| b"SQLite format 3\0 and nothing of the kind".repeat(200);
    let bad_page = |mut bytes: Vec<u8>| {
        bytes.get_mut(4_096..).expect("more than a page").fill(0x5a);
        bytes
    };
    for damage in [garbage, other_file, bad_page] {
        let (file, files) = views_db();
        let store = log_of(3);
        run::<Positions<1>>(&file, &store);
        let whole = fs::read(&file).expect("a file");
        fs::write(&file, damage(whole)).expect("a damaged file");
        run::<Positions<1>>(&file, &store);
        assert_eq!(found(&file), (positions(&store), 1));
        drop(files);
    }
}

#[test]
fn the_inbox_knows_whose_sessions_are_whose_the_newest_first() {
    let (file, files) = views_db();
    in_real_time(async {
        let given = Given::new();
        let ann = UserId::parse("ann").expect("an id");
        for (session, caller, claims) in [
            ("claimed", Caller::Anonymous, Some(&ann)),
            ("first", Caller::Verified(ann.clone()), None),
            ("second", Caller::Verified(ann.clone()), None),
            ("other", Caller::Anonymous, None),
        ] {
            let said = message(given.ambient.message_id(), "", "hello");
            let said = SendMessage { caller, user_id: claims.cloned(), ..said };
            given.directory.send(&tenant(), &id(session), said, cause()).await.expect("it is stored");
        }
        let views = Views::open(&file).expect("views.db");
        let progress = Projector::<InboxProjection>::start(&views, &given.store.shared());
        let inbox = Inbox::new(views, progress, DEADLINE);
        let sessions = async |proof| {
            let found = inbox.sessions_of(tenant(), ann.clone(), proof, given.store.head()).await;
            let found = found.expect("the inbox").into_iter();
            found.map(|entry| entry.session.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(sessions(Proof::Verified).await, ["second", "first"]);
        assert_eq!(sessions(Proof::Claimed).await, ["second", "first", "claimed"]);
    });
    drop(files);
}

/// Runs a projection to the end of the log, and ends it.
fn run<P: Projection>(file: &Path, store: &StagedStore) {
    in_real_time(async {
        let progress = start::<P>(file, store);
        progress.reach(store.head(), DEADLINE).await.expect("the projection");
    });
}

fn start<P: Projection>(file: &Path, store: &StagedStore) -> Progress {
    Projector::<P>::start(&Views::open(file).expect("views.db"), &store.shared())
}

/// The positions in the table, and how often it was made.
fn found(file: &Path) -> (Vec<i64>, i64) {
    let conn = Connection::open(file).expect("views.db");
    let mut statement = conn.prepare("SELECT position FROM positions ORDER BY position").expect("a table");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    let resets = conn.query_row("SELECT count(*) FROM resets", [], |row| row.get(0)).expect("a table");
    (rows.collect::<Result<_, _>>().expect("rows"), resets)
}

fn positions(store: &StagedStore) -> Vec<i64> {
    let log = in_real_time(store.log());
    log.iter().map(|event| event.position.as_u64().cast_signed()).collect()
}

fn log_of(messages: u32) -> StagedStore {
    let store = StagedStore::new();
    say(&store, messages);
    store
}

fn say(store: &StagedStore, messages: u32) {
    in_real_time(speak(store, messages));
}

async fn speak(store: &StagedStore, messages: u32) {
    let given = Given { store: store.clone(), ..Given::new() }.restarted();
    for number in 0..messages {
        given.say("s", &format!("message {number}")).await;
    }
}

fn views_db() -> (Box<Path>, TempDir) {
    let files = tempfile::tempdir().expect("a directory");
    (files.path().join("views.db").into(), files)
}
