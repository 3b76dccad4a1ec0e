//! The projector: it continues from its checkpoint, starts again in another epoch or version, and continues after
//! the database refused something.

use std::time::Duration;

use amoiq_actors::{
    inbox::{IdentityProof, InboxProjection, InboxView},
    projections::{Projector, ViewError, ViewStore},
};
use amoiq_events::{
    EventLog, UserId,
    session::{SendMessage, SessionCaller},
};
use rusqlite::Connection;

use crate::{
    given::{DEADLINE, Given, cause, id, in_real_time, message, tenant},
    projections::given::{Positions, found, log_of, positions, run, say, serving, speak, start, views_db},
};

#[test]
fn a_projector_continues_from_its_checkpoint() {
    let (file, files) = views_db();
    let store = log_of(3);
    run::<Positions<1>>(&file, &store);
    say(&store, 2);
    run::<Positions<1>>(&file, &store);
    assert_eq!(found(&file), (positions(&store), 1), "made once, and each event is in it once");
    drop(files);
}

#[test]
fn a_projector_starts_again_in_another_epoch_or_version() {
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
fn tables_that_are_ahead_of_the_log_are_made_anew() {
    let (file, files) = views_db();
    run::<Positions<1>>(&file, &log_of(5));
    let shorter = log_of(3);
    run::<Positions<1>>(&file, &shorter);
    assert_eq!(found(&file), (positions(&shorter), 2));
    drop(files);
}

#[test]
fn a_projector_continues_after_the_database_refused() {
    let (file, files) = views_db();
    let store = log_of(3);
    in_real_time(async {
        let progress = start::<Positions<1>>(&file, &store);
        progress.reach(store.head(), DEADLINE).await.expect("the projection");
        let conn = Connection::open(&file).expect("views.db");
        let table = serving(&file).name("positions");
        let refuse = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        );
        conn.execute_batch(&refuse).expect("a trigger");
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
fn the_inbox_lists_the_sessions_of_each_user_the_newest_first() {
    let (file, files) = views_db();
    in_real_time(async {
        let given = Given::new();
        let ann = UserId::parse("ann").expect("an id");
        for (session, caller, claims) in [
            ("claimed", SessionCaller::Anonymous, Some(&ann)),
            ("first", SessionCaller::Verified(ann.clone()), None),
            ("second", SessionCaller::Verified(ann.clone()), None),
            ("other", SessionCaller::Anonymous, None),
        ] {
            let said = message(given.ambient.message_id(), "", "hello");
            let said = SendMessage { caller, user_id: claims.cloned(), ..said };
            given.directory.send(&tenant(), &id(session), said, cause()).await.expect("it is stored");
        }
        let views = ViewStore::open(&file).expect("views.db");
        let progress = Projector::<InboxProjection>::start(&views, &given.store.shared_log());
        let inbox = InboxView::new(views, progress, DEADLINE);
        let sessions = async |proof| {
            let found = inbox.sessions_of(tenant(), ann.clone(), proof, given.store.head()).await;
            let found = found.expect("the inbox").into_iter();
            found.map(|entry| entry.session.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(sessions(IdentityProof::Verified).await, ["second", "first"]);
        assert_eq!(sessions(IdentityProof::Claimed).await, ["second", "first", "claimed"]);
    });
    drop(files);
}
