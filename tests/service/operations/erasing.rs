//! `amoiq erase`: a person is gone from every file, and nobody else is.

use std::{collections::BTreeMap, fs, net::TcpListener, path::Path, time::Duration};

use amoiq_testkit::{
    AppLauncher, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, cli, eventually, store_invariants::copy_of,
};
use serde_json::{Value, json};

use crate::operations::{
    stores::store_damage::flip_value,
    stores::written_stores::{new_file, say_as_ann},
};

mod beside_writers;
mod in_postgres;

/// What is known of the person. Each text occurs nowhere else.
const TRACES: [&str; 7] = [
    "the-cardigan-is-teal",
    "Quentina Vanterpool",
    "quentina@vanterpool.example",
    "fingerprint-7f3d9a10c2",
    "https://shop.example/only-she-was-here",
    "https://referrer.example/she-came-from-here",
    "user-quentina-77",
];

const HERS: [&str; 2] = ["session-of-quentina-1", "session-of-quentina-2"];

/// What she sends, over HTTP and over a socket.
fn message(session: &str, number: usize) -> Value {
    json!({
        "sessionId": session, "text": format!("{} {number}", TRACES[0]), "userId": TRACES[6],
        "userInfo": { "name": TRACES[1], "email": TRACES[2] }, "fingerprint": TRACES[3],
        "url": TRACES[4], "referrer": TRACES[5],
    })
}

/// Which files contain which traces.
fn found(directory: &Path) -> BTreeMap<String, Vec<&'static str>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let bytes = fs::read(entry.path()).expect("a file");
        let has = |trace: &&&str| bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
        let traces: Vec<_> = TRACES.iter().filter(has).copied().collect();
        if !traces.is_empty() {
            found.insert(entry.file_name().to_string_lossy().into_owned(), traces);
        }
    }
    found
}

/// A service with an endpoint that fails, two sessions of hers and one of somebody else.
fn given(data: &Path) -> TestApp {
    let refusing = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = refusing.local_addr().expect("an address").port();
    drop(refusing);
    let service = AppLauncher::new()
        .data(data)
        .settings(&[("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8")])
        .start();
    let hook = json!({ "url": format!("http://127.0.0.1:{port}/hook") });
    assert_eq!(service.post(SECRET_KEY, "/api/webhooks", &hook).status, 201);
    for number in 0..40 {
        assert_eq!(say_as_ann(&service, "session-of-ann", &format!("ann says {number}")).status, 200);
        assert_eq!(service.post(WIDGET_KEY, "/webchat/message", &message(HERS[0], number)).status, 200);
    }
    let mut socket = SocketClient::connect(&service, WIDGET_KEY);
    socket.call("message", &message(HERS[1], 1));
    drop(socket);
    eventually("she goes offline", || {
        cli::stdout_of(data, &["events", "--json", "--type", "user.offline"]).contains(TRACES[6])
    });
    // Deliveries of hers are in the outbox, tried and waiting.
    eventually("deliveries are pending", || {
        let outbox = rusqlite::Connection::open(data.join("outbox.db")).expect("outbox.db");
        outbox
            .query_row("SELECT count(*) FROM deliveries WHERE session LIKE '%quentina%'", [], |row| {
                row.get::<_, i64>(0)
            })
            .is_ok_and(|count| count >= 41)
    });
    service
}

#[test]
fn a_user_is_gone_from_every_file_and_nobody_else_is() {
    let data = tempfile::tempdir().expect("a directory");
    let service = given(data.path());
    assert!(found(data.path()).contains_key("log.db") || found(data.path()).contains_key("log.db-wal"));
    let mut agent = SocketClient::connect(&service, SECRET_KEY);
    agent.call("join:session", &json!({ "sessionId": HERS[0] }));

    let before = service.texts(SECRET_KEY, "session-of-ann").expect("a history");
    let said =
        cli::stdout_of(data.path(), &["erase", "--tenant", "demo", "--user", TRACES[6], "--yes", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let mut erased: Vec<_> =
        said["sessions"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    erased.sort_unstable();
    assert_eq!(erased, HERS);

    assert_eq!(found(data.path()), BTreeMap::new());
    assert!(agent.is_silent_for(Duration::from_millis(300)), "nobody hears of what is gone");
    for session in HERS {
        assert_eq!(service.texts(SECRET_KEY, session), Err(404));
    }
    assert_eq!(service.texts(SECRET_KEY, "session-of-ann"), Ok(before.clone()));
    let outbox = rusqlite::Connection::open(data.path().join("outbox.db")).expect("outbox.db");
    let count = |sql: &str| outbox.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number");
    assert_eq!(count("SELECT count(*) FROM deliveries WHERE session LIKE '%quentina%'"), 0);
    assert_eq!(count("SELECT count(*) FROM deliveries WHERE session = 'session-of-ann'"), 40);
    drop(outbox);
    assert!(!data.path().join("erasing").exists());

    let (folder, file) = new_file();
    cli::stdout_of(data.path(), &["backup", file.to_str().expect("a path")]);
    assert_eq!(found(folder.path()), BTreeMap::new());
    assert_eq!(say_as_ann(&service, HERS[0], "somebody begins anew").status, 200);
    assert_eq!(service.texts(SECRET_KEY, HERS[0]), Ok(vec!["somebody begins anew".to_owned()]));
    service.stop();

    assert_eq!(found(data.path()), BTreeMap::new());
    let (code, verification) = cli::verify(data.path(), &[]);
    assert_eq!(code, 0, "{verification}");
    // The read model is the same when it is rebuilt from the log.
    for file in ["views.db", "views.db-wal", "views.db-shm"] {
        drop(fs::remove_file(data.path().join(file)));
    }
    let service = TestApp::start_on(data.path());
    assert_eq!(service.texts(SECRET_KEY, "session-of-ann"), Ok(before));
    let claimed = service.get(SECRET_KEY, &format!("/api/chat/messages?userId={}", TRACES[6]));
    assert!(!claimed.body.to_string().contains(TRACES[0]), "{claimed:?}");
    eventually("the read model is there", || service.get(SECRET_KEY, "/readyz").status == 200);
    service.stop();
    assert_eq!(cli::verify(data.path(), &[]).0, 0);
}

#[test]
fn nothing_is_erased_that_does_not_exist_or_is_not_confirmed() {
    let data = tempfile::tempdir().expect("a directory");
    let service = TestApp::start_on(data.path());
    assert_eq!(say_as_ann(&service, "session-of-ann", "hello").status, 200);
    let refused = |arguments: &[&str], expected: &str| {
        let output = cli::run(data.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
    };
    refused(&["erase", "--tenant", "demo", "--session", "session-of-nobody", "--yes"], "SESSION_NOT_FOUND");
    refused(&["erase", "--tenant", "nobody", "--session", "session-of-ann", "--yes"], "TENANT_NOT_FOUND");
    refused(&["erase", "--tenant", "demo", "--session", "session-of-ann"], "--yes");
    assert_eq!(service.texts(SECRET_KEY, "session-of-ann"), Ok(vec!["hello".to_owned()]));
    service.stop();
    refused(&["erase", "--tenant", "demo", "--session", "session-of-ann", "--yes"], "start it");
}

#[test]
fn an_erasure_that_was_interrupted_is_completed_by_the_next_start() {
    let data = tempfile::tempdir().expect("a directory");
    let service = given(data.path());
    // As it is when the process dies between the event and everything that follows.
    let events = cli::stdout_of(data.path(), &["events", "--json", "--type", "tenant.created"]);
    service.stop();
    let tenant: Value = serde_json::from_str(events.lines().next().expect("a tenant")).expect("JSON");
    assert_eq!(tenant["stream"], "tenant:demo");
    crate::operations::stores::written_stores::append_erased(data.path(), "demo", &HERS[..1]);
    let cause = json!({ "causation": "request", "actor": "operator:drill" });
    let order = json!([{ "tenant": "demo", "sessions": HERS, "user": TRACES[6], "until": 1_000_000, "cause": cause }]);
    fs::write(data.path().join("erasing"), order.to_string()).expect("written");
    assert!(found(data.path()).contains_key("log.db"));

    let service = TestApp::start_on(data.path());
    assert_eq!(service.texts(SECRET_KEY, HERS[0]), Err(404));
    eventually("it is completed", || !data.path().join("erasing").exists());
    assert_eq!(service.texts(SECRET_KEY, HERS[1]), Err(404));
    assert_eq!(found(data.path()), BTreeMap::new());
    assert_eq!(service.texts(SECRET_KEY, "session-of-ann").map(|texts| texts.len()), Ok(40));
    service.stop();
    let (code, verification) = cli::verify(data.path(), &[]);
    assert_eq!(code, 0, "{verification}");
}

#[test]
fn a_session_that_started_again_stays_even_if_its_index_row_is_lost() {
    let made = tempfile::tempdir().expect("a directory");
    let service = TestApp::start_on(made.path());
    assert_eq!(say_as_ann(&service, HERS[0], "she says").status, 200);
    cli::stdout_of(made.path(), &["erase", "--tenant", "demo", "--session", HERS[0], "--yes"]);
    assert_eq!(say_as_ann(&service, HERS[0], "somebody begins anew").status, 200);
    service.stop();
    for column in ["name", "version", "position", "first", "checksum"] {
        let data = copy_of(made.path());
        flip_value(data.path(), "streams", column, &format!("name = 'session:demo:{}'", HERS[0]));
        let service = TestApp::start_on(data.path());
        assert_eq!(
            service.texts(SECRET_KEY, HERS[0]),
            Ok(vec!["somebody begins anew".to_owned()]),
            "{column}"
        );
        assert_eq!(say_as_ann(&service, HERS[0], "and goes on").status, 200, "{column}");
        service.stop();
        let (code, verification) = cli::verify(data.path(), &[]);
        assert_eq!(code, 0, "{column}: {verification}");
    }
}

#[test]
fn an_erasure_is_not_complete_while_a_backup_that_may_contain_the_person_runs() {
    let data = tempfile::tempdir().expect("a directory");
    let service = TestApp::start_on(data.path());
    assert_eq!(service.post(WIDGET_KEY, "/webchat/message", &message(HERS[0], 1)).status, 200);
    // The lock that `amoiq backup` holds from its start until its file is there.
    let copying = fs::File::open(data.path().join("log.witness")).expect("a file");
    copying.lock_shared().expect("a lock");
    let output = cli::run(data.path(), &["erase", "--tenant", "demo", "--session", HERS[0], "--yes"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("ERASURE_INCOMPLETE"), "{said}");
    assert_eq!(service.texts(SECRET_KEY, HERS[0]), Err(404));
    assert!(data.path().join("erasing").exists());
    drop(copying);
    eventually("it is completed", || !data.path().join("erasing").exists());
    assert_eq!(found(data.path()), BTreeMap::new());
    service.stop();
}
