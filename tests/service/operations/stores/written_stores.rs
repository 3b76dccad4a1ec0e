//! Data directories that the real service wrote. Each test works on a copy.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use amoiq_events::{
    Ambient, Event, EventLog, SessionId, StreamName, TenantId,
    event::EventCause,
    store::{ExpectedVersion, sqlite::SqliteStore},
    tenant::{SessionErased, TenantEvent},
};
use amoiq_testkit::{
    ApiResponse, TestApp, WIDGET_KEY, eventually,
    store_invariants::{copy_of, inbox_generation},
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

/// Sessions of the store that tests share, and how many messages each has: one is long enough for a mark.
pub const SESSIONS: [(&str, usize); 3] = [("session-long", 70), ("session-two", 5), ("session-three", 1)];

/// Sends a message as the widget of the user `ann`.
pub fn say_as_ann(app: &TestApp, session: &str, text: &str) -> ApiResponse {
    app.post(WIDGET_KEY, "/webchat/message", &json!({"sessionId": session, "text": text, "userId": "ann"}))
}

/// The texts that a session of the shared store has.
pub fn texts_of(session: &str) -> Vec<String> {
    let (_, count) = SESSIONS.iter().find(|(name, _)| *name == session).expect("a session");
    (1..=*count).map(|number| format!("{session} says {number}")).collect()
}

/// The store that tests share, stopped: each works on a copy.
pub fn stopped() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    copy_of(MADE.get_or_init(|| made(true)).path())
}

/// The same, as a killed service leaves it.
pub fn killed() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    copy_of(MADE.get_or_init(|| made(false)).path())
}

fn made(is_stopped: bool) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let service = TestApp::start_on(directory.path());
    for (session, _) in SESSIONS {
        for text in texts_of(session) {
            assert_eq!(say_as_ann(&service, session, &text).status, 200);
        }
    }
    // The read model is up to date: its file is part of the store.
    eventually("the inbox follows", || {
        in_the_inbox(directory.path()).is_ok_and(|all| i64::try_from(SESSIONS.len()) == Ok(all))
    });
    if is_stopped {
        service.stop();
    }
    directory
}

/// How many sessions are in it.
fn in_the_inbox(data: &Path) -> rusqlite::Result<i64> {
    let views = Connection::open(data.join("views.db"))?;
    let sql = format!("SELECT count(*) FROM inbox_{}", inbox_generation(&views)?);
    views.query_row(&sql, [], |row| row.get(0))
}

/// Records in the log of a stopped store that sessions were erased, and does not erase them.
pub fn append_erased(data: &Path, tenant: &str, sessions: &[&str]) {
    let ambient = Ambient::system();
    let store = SqliteStore::open(data, &ambient).expect("the store");
    let cause = EventCause { causation: "test".into(), actor: "test".into() };
    let stream = StreamName::tenant(&TenantId::parse(tenant).expect("an id"));
    let said = sessions.iter().map(|session| {
        let session_id = SessionId::parse(session).expect("an id");
        Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id })).envelope(&ambient, &cause)
    });
    let appending = store.append(stream, ExpectedVersion::Any, said.collect());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(appending).expect("appended");
}

/// A path without a file, in a directory of its own.
pub fn new_file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    (directory, file)
}
