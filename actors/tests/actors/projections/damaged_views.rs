//! Damage in `views.db`, found at the start or while the service runs, is repaired from the log without an
//! operator, and nothing wrong is read meanwhile.

use std::{fs, path::Path, time::Duration};

use amoiq_actors::{
    inbox::{IdentityProof, InboxEntry, InboxProjection, InboxView},
    projections::{Projector, RebuildHandle, ViewError, ViewGeneration, ViewStore, ViewTables},
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
fn a_damaged_file_is_rebuilt_at_the_start_or_soon_after() {
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
        InboxOfAnn::start(&file).await.repairs("inbox", "last_position = 1").await;
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
            InboxOfAnn::start(&file).await.repairs(table, damage).await;
        });
        drop(files);
    }
}

#[test]
fn a_file_that_is_damaged_while_the_service_runs_is_rebuilt() {
    let (file, files) = views_db();
    in_real_time(async {
        let inbox = InboxOfAnn::start(&file).await;
        // Into the file itself, so that the next read is not from the write-ahead log.
        inbox.file.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("one file");
        let mut bytes = fs::read(&file).expect("a file");
        bytes.get_mut(100..).expect("more than a header").fill(0x5a);
        fs::write(&file, bytes).expect("a damaged file");
        inbox.given.say("another", "hello").await;
        let mut answer = Err(ViewError::Behind);
        for _ in 0..200 {
            answer = inbox.sessions().await;
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
        let inbox = InboxOfAnn::start(&file).await;
        inbox.file.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        inbox.rebuilds.start(None).await.expect("none is under way");
        assert!(inbox.rebuilds.cancel().await);
        inbox.file.execute_batch("ROLLBACK").expect("no lock");
        inbox.repairs("inbox", "last_position = 1").await;
    });
    drop(files);
}

/// An inbox in which one session is Ann's.
struct InboxOfAnn {
    given: Given,
    view: InboxView,
    ann: UserId,
    rebuilds: RebuildHandle,
    /// Another connection to `views.db`.
    file: Connection,
}

impl InboxOfAnn {
    async fn start(file: &Path) -> Self {
        let given = Given::new();
        let ann = UserId::parse("ann").expect("an id");
        let said = message(given.ambient.message_id(), "", "hello");
        let said = SendMessage { caller: SessionCaller::Verified(ann.clone()), ..said };
        given.directory.send(&tenant(), &id("hers"), said, cause()).await.expect("it is stored");
        let views = ViewStore::open(file).expect("views.db");
        let (progress, rebuilds) =
            Projector::<InboxProjection>::start_with_rebuilds(&views, &given.store.shared_log());
        let view = InboxView::new(views, progress, DEADLINE);
        let file = Connection::open(file).expect("views.db");
        let inbox = Self { given, view, ann, rebuilds, file };
        assert_eq!(inbox.sessions().await.expect("an answer").len(), 1);
        inbox
    }

    /// Ann's sessions, of the whole log.
    async fn sessions(&self) -> Result<Vec<InboxEntry>, ViewError> {
        let head = self.given.store.head();
        self.view.sessions_of(tenant(), self.ann.clone(), IdentityProof::Verified, head).await
    }

    fn tables(&self) -> Option<ViewTables> {
        ViewGeneration::serving(&self.file, "inbox").expect("a catalogue").map(|serving| serving.tables)
    }

    /// Damages the one row of a table: no read gets it, and new tables repair it.
    async fn repairs(&self, table: &str, damage: &str) {
        let tables = self.tables().expect("tables that serve");
        let damaged = self.file.execute(&format!("UPDATE {} SET {damage}", tables.name(table)), []);
        assert_eq!(damaged.expect("a table"), 1);
        let read = self.sessions().await;
        assert!(matches!(read, Err(ViewError::Damaged("inbox"))), "{damage}: {read:?}");
        until(|| self.tables().is_some_and(|now| now != tables)).await;
        assert_eq!(self.sessions().await.expect("an answer").len(), 1);
    }
}
