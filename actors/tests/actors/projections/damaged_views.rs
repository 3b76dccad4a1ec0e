//! Damage in `views.db`, found at the start or while the service runs, is repaired from the log without an
//! operator, and nothing wrong is read meanwhile.

use std::{fs, time::Duration};

use amoiq_actors::{
    inbox::{IdentityProof, InboxProjection, InboxView},
    projections::{Projector, RebuildHandle, ViewError, ViewGeneration, ViewStore},
};
use amoiq_events::{
    EventLog, UserId,
    session::{SendMessage, SessionCaller},
};
use rusqlite::Connection;

use crate::{
    given::{DEADLINE, Given, cause, id, in_real_time, message, tenant},
    projections::given::{Positions, found, log_of, positions, run, start, until, views_db},
};

#[test]
fn a_damaged_file_is_built_again_at_the_start_or_soon_after() {
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
        in_real_time(async {
            let progress = start::<Positions<1>>(&file, &store);
            progress.reach(store.head(), DEADLINE).await.expect("the projection");
        });
        assert_eq!(found(&file), (positions(&store), 1));
        drop(files);
    }
}

#[test]
fn a_row_that_is_damaged_while_the_service_runs_is_never_read_and_is_repaired() {
    let (file, files) = views_db();
    in_real_time(async {
        let (given, inbox, ann, _) = inbox_of_ann(&file).await;
        let conn = Connection::open(&file).expect("views.db");
        let tables = ViewGeneration::serving(&conn, "inbox").expect("a catalogue").expect("tables").tables;
        let damaged = conn.execute(&format!("UPDATE {} SET last_position = 1", tables.name("inbox")), []);
        assert_eq!(damaged.expect("a table"), 1);
        let read =
            inbox.sessions_of(tenant(), ann.clone(), IdentityProof::Verified, given.store.head()).await;
        assert!(matches!(read, Err(ViewError::Damaged("inbox"))), "{read:?}");
        let now = || ViewGeneration::serving(&conn, "inbox").expect("a catalogue").map(|now| now.tables);
        until(|| now().is_some_and(|now| now != tables)).await;
        let read = inbox.sessions_of(tenant(), ann, IdentityProof::Verified, given.store.head()).await;
        assert_eq!(read.expect("an answer").len(), 1);
    });
    drop(files);
}

#[test]
fn a_session_that_damage_hides_from_its_user_is_noticed() {
    let claims = ["user_id = 'anm'", "user_id = 'ano'", "tenant = 'acmf'", "verified = 0"];
    let claims = claims.map(|damage| ("inbox_users", damage));
    for (table, damage) in claims.into_iter().chain([("inbox", "session = 'herz'")]) {
        let (file, files) = views_db();
        in_real_time(async {
            let (given, inbox, ann, _) = inbox_of_ann(&file).await;
            let conn = Connection::open(&file).expect("views.db");
            let tables =
                ViewGeneration::serving(&conn, "inbox").expect("a catalogue").expect("tables").tables;
            let damaged = conn.execute(&format!("UPDATE {} SET {damage}", tables.name(table)), []);
            assert_eq!(damaged.expect("a table"), 1);
            let read =
                inbox.sessions_of(tenant(), ann.clone(), IdentityProof::Verified, given.store.head()).await;
            assert!(matches!(read, Err(ViewError::Damaged("inbox"))), "{damage}: {read:?}");
            let now = || ViewGeneration::serving(&conn, "inbox").expect("a catalogue").map(|now| now.tables);
            until(|| now().is_some_and(|now| now != tables)).await;
            let read = inbox.sessions_of(tenant(), ann, IdentityProof::Verified, given.store.head()).await;
            assert_eq!(read.expect("an answer").len(), 1);
        });
        drop(files);
    }
}

#[test]
fn a_file_that_is_damaged_while_the_service_runs_is_built_again() {
    let (file, files) = views_db();
    in_real_time(async {
        let (given, inbox, ann, _) = inbox_of_ann(&file).await;
        // Into the file itself, so that the next read is not from the write-ahead log.
        let conn = Connection::open(&file).expect("views.db");
        conn.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("one file");
        let mut bytes = fs::read(&file).expect("a file");
        bytes.get_mut(100..).expect("more than a header").fill(0x5a);
        fs::write(&file, bytes).expect("a damaged file");
        given.say("another", "hello").await;
        let head = given.store.head();
        let mut answer = Err(ViewError::Behind);
        for _ in 0..200 {
            answer = inbox.sessions_of(tenant(), ann.clone(), IdentityProof::Verified, head).await;
            match &answer {
                Ok(_) => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        let sessions: Vec<_> = answer.expect("an answer").into_iter().map(|entry| entry.session).collect();
        assert_eq!(sessions, [id("hers")], "never another answer than the right one");
    });
    drop(files);
}

#[test]
fn damage_that_is_found_after_a_cancelled_rebuild_is_repaired() {
    let (file, files) = views_db();
    in_real_time(async {
        let (given, inbox, ann, rebuilds) = inbox_of_ann(&file).await;
        let conn = Connection::open(&file).expect("views.db");
        conn.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        rebuilds.start(None).await.expect("none is under way");
        assert!(rebuilds.cancel().await);
        conn.execute_batch("ROLLBACK").expect("no lock");
        let now = || ViewGeneration::serving(&conn, "inbox").expect("a catalogue").map(|now| now.tables);
        let tables = now().expect("tables that serve");
        let damaged = conn.execute(&format!("UPDATE {} SET last_position = 1", tables.name("inbox")), []);
        assert_eq!(damaged.expect("a table"), 1);
        let read =
            inbox.sessions_of(tenant(), ann.clone(), IdentityProof::Verified, given.store.head()).await;
        assert!(matches!(read, Err(ViewError::Damaged("inbox"))), "{read:?}");
        until(|| now().is_some_and(|now| now != tables)).await;
        let read = inbox.sessions_of(tenant(), ann, IdentityProof::Verified, given.store.head()).await;
        assert_eq!(read.expect("an answer").len(), 1);
    });
    drop(files);
}

/// An inbox in which one session is Ann's.
async fn inbox_of_ann(file: &std::path::Path) -> (Given, InboxView, UserId, RebuildHandle) {
    let given = Given::new();
    let ann = UserId::parse("ann").expect("an id");
    let said = message(given.ambient.message_id(), "", "hello");
    let said = SendMessage { caller: SessionCaller::Verified(ann.clone()), ..said };
    given.directory.send(&tenant(), &id("hers"), said, cause()).await.expect("it is stored");
    let views = ViewStore::open(file).expect("views.db");
    let (progress, rebuilds) =
        Projector::<InboxProjection>::start_with_rebuilds(&views, &given.store.shared_log());
    let inbox = InboxView::new(views, progress, DEADLINE);
    let found = inbox.sessions_of(tenant(), ann.clone(), IdentityProof::Verified, given.store.head()).await;
    assert_eq!(found.expect("an answer").len(), 1);
    (given, inbox, ann, rebuilds)
}
