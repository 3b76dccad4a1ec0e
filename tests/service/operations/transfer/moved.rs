//! `amoiq migrate`: from files into a database and back, with everything beside the log.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use amoiq_testkit::{
    AppLauncher, SECRET_KEY, TestApp, cli, eventually,
    receivers::{ReceiverRuntime, VerifyingReceiver},
};
use rusqlite::Connection;
use serde_json::Value;

use super::database_log::DatabaseLog;
use crate::operations::stores::written_stores::stopped;

const SESSIONS: usize = 6;
const MESSAGES: usize = 240;

/// How many deliveries the endpoint takes before it stops answering.
const TAKEN: usize = 100;

/// Runs a migration, kills it after a while, and runs it again, each time with more time, until it ends by itself.
#[track_caller]
fn run_with_kills(migration: impl Fn() -> Command) -> Value {
    let mut kills = 0;
    for milliseconds in (0..).map(|round| 20 + 40 * round) {
        let running = migration().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut running = running.expect("the program runs");
        thread::sleep(Duration::from_millis(milliseconds));
        if running.try_wait().expect("a process").is_none() {
            running.kill().expect("killed");
            running.wait().expect("it ends");
            kills += 1;
            continue;
        }
        let output: Output = running.wait_with_output().expect("its output");
        assert!(output.status.success(), "after {kills} kills: {output:?}");
        assert!(kills > 0, "it was never killed");
        return serde_json::from_slice(&output.stdout).expect("JSON");
    }
    unreachable!("the rounds do not end")
}

/// A service with this data directory and these settings, which delivers to this machine.
fn start(data: &Path, settings: &[(&'static str, String)]) -> TestApp {
    // An endpoint that does not answer is asked again and again.
    let config = format!(
        "[webhooks]\nallowed_networks = [\"127.0.0.0/8\"]\njitter_percent = 0\nattempt_timeout_ms = 300\n\
         breaker_failures = 1000000\nschedule_ms = {:?}\n",
        [300; 60]
    );
    let launcher = AppLauncher::new().data(data).config(&config).unchecked();
    let launcher = settings.iter().fold(launcher, |launcher, (key, value)| launcher.environment(key, value));
    launcher.start()
}

/// What clients see: every session's messages, and the inbox.
fn answers(app: &TestApp) -> Vec<Value> {
    let of_session = |session| app.messages(SECRET_KEY, &format!("sessionId={}", name(session)));
    (0..SESSIONS).flat_map(of_session).collect()
}

/// How many deliveries wait in the files of a directory.
fn waiting(data: &Path) -> i64 {
    let outbox = Connection::open(data.join("outbox.db")).expect("the outbox");
    outbox
        .query_row("SELECT count(*) FROM deliveries WHERE status = 0", [], |row| row.get(0))
        .expect("a count")
}

fn name(session: usize) -> String {
    format!("moved-session-{session}")
}

#[test]
fn a_store_moves_into_a_database_and_back_with_what_waits_and_kills_change_nothing() {
    let (files, database) = (tempfile::tempdir().expect("a directory"), DatabaseLog::new());
    let back = tempfile::tempdir().expect("a directory");
    let ground = ReceiverRuntime::new();
    let mailbox = VerifyingReceiver::open(&ground);
    mailbox.answer_up_to(TAKEN);
    let app = start(files.path(), &[]);
    let made = app.post(SECRET_KEY, "/api/webhooks", &serde_json::json!({ "url": mailbox.url() }));
    mailbox.trust(made.body["secret"].as_str().expect("a secret"));
    let mut said = BTreeSet::new();
    for number in 0..MESSAGES {
        said.insert(app.say(SECRET_KEY, &name(number % SESSIONS), &format!("message {number}")));
    }
    eventually("some are delivered", || mailbox.taken() >= TAKEN);
    eventually("others wait", || waiting(files.path()) > 0);
    let before = answers(&app);
    app.stop();

    let forth = run_with_kills(|| database.migration_from(files.path()));
    assert!(forth["pendingDeliveries"].as_u64() > Some(0), "{forth}");
    assert_eq!(forth["jwtSecret"], "copied");
    assert!(database.run(&["verify"]).status.success());
    let app = start(database.data.path(), &database.settings());
    assert_eq!(answers(&app), before);
    mailbox.answer_up_to(2 * TAKEN);
    eventually("more are delivered", || mailbox.taken() >= 2 * TAKEN);
    said.insert(app.say(SECRET_KEY, &name(0), "from the database"));
    let before = answers(&app);
    app.stop();

    let returned = run_with_kills(|| database.migration_to(back.path()));
    assert_ne!(returned["epoch"], forth["epoch"]);
    let (code, verified) = cli::verify(back.path(), &[]);
    assert_eq!((code, &verified["events"]), (0, &returned["events"]), "{verified}");
    let app = start(back.path(), &[]);
    assert_eq!(answers(&app), before);
    mailbox.answer_up_to(usize::MAX);
    eventually("everything is delivered", || mailbox.taken() == said.len());
    let arrivals = mailbox.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.is_signed));
    let messages: BTreeSet<_> =
        arrivals.iter().filter(|arrival| arrival.is_taken).map(|arrival| arrival.message.clone()).collect();
    assert_eq!(messages, said);
    for session in 0..SESSIONS {
        let mut seen = HashSet::new();
        let texts = arrivals.iter().filter(|arrival| arrival.is_taken && arrival.session == name(session));
        let first: Vec<_> =
            texts.filter(|arrival| seen.insert(&arrival.id)).map(|arrival| &arrival.text).collect();
        assert_eq!(first, app.texts(SECRET_KEY, &name(session)).expect("texts").iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_store_that_is_in_use_does_not_move_and_no_log_is_overwritten() {
    let (files, database) = (stopped(), DatabaseLog::new());
    let failed = |mut migration: Command| {
        let output = migration.output().expect("the program runs");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let app = start(files.path(), &[]);
    assert!(failed(database.migration_from(files.path())).contains("in use"));
    app.stop();
    assert!(failed(database.migration_to(files.path())).contains("nothing is overwritten"));
    assert!(database.migration_from(files.path()).status().expect("it runs").success());
    assert!(failed(database.migration_from(files.path())).contains("holds a log already"));

    let app = start(database.data.path(), &database.settings());
    let other = tempfile::tempdir().expect("a directory");
    assert!(failed(database.migration_to(other.path())).contains("in use"));
    // Another node, with a data directory of its own.
    let elsewhere =
        DatabaseLog { data: tempfile::tempdir().expect("a directory"), schema: database.schema.clone() };
    assert!(failed(elsewhere.migration_to(other.path())).contains("have the log open"));
    drop(app);
}
