//! What the program does about files that are not as it left them.

use std::{collections::HashMap, fs, path::Path};

use amoiq_events::{Ambient, ambient::SeededEntropy, store::sqlite::SqliteStore};
use amoiq_testkit::{AppLauncher, SECRET_KEY, TestApp, WIDGET_KEY, eventually, store_invariants::copy_of};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::history;

const SESSIONS: usize = 4;
const LOST: [&str; 2] = ["\"level\":\"ERROR\"", "the log lost its end"];

/// A directory in which messages were acknowledged one after the other.
struct Written {
    directory: TempDir,
    /// Session and id, in the order in which they were acknowledged.
    messages: Vec<(String, String)>,
    /// The same, as the user's history shows it.
    epoch: String,
}

impl Written {
    fn new(count: usize) -> (Self, TestApp) {
        let directory = tempfile::tempdir().expect("a directory");
        let app = start(&directory);
        let say = |number: usize| {
            let session = format!("session-of-files-{}", number % SESSIONS);
            let id = say(&app, &session, &format!("message {number}"));
            (session, id)
        };
        let messages = (0..count).map(say).collect();
        let epoch = epoch(&app);
        (Self { directory, messages, epoch }, app)
    }

    /// How many messages are there: the first ones of all that were acknowledged.
    fn left(&self, app: &TestApp) -> usize {
        let mut found: HashMap<String, Vec<Value>> = HashMap::new();
        let mut left = 0;
        let mut is_gone = false;
        for (session, id) in &self.messages {
            let ids = found.entry(session.clone()).or_insert_with(|| {
                let history = history(app, session);
                let seqs: Vec<_> = history.iter().map(|message| message["seq"].clone()).collect();
                assert_eq!(seqs, (1..=history.len()).collect::<Vec<_>>(), "a gap in {session}");
                history.into_iter().map(|message| message["id"].clone()).rev().collect()
            });
            match ids.pop() {
                Some(next) => assert!(!is_gone && next == **id, "what is left is no prefix"),
                None => is_gone = true,
            }
            left += usize::from(!is_gone);
        }
        assert!(found.values().all(Vec::is_empty), "more than was sent");
        left
    }
}

#[test]
fn an_end_torn_inside_an_unanswered_commit_is_no_loss() {
    let (written, mut app) = Written::new(40);
    app.kill();
    let wal = wal(&written.directory);
    let frame = &wal[wal.len() - frame_bytes(&wal)..];
    let dice = SeededEntropy::new(5);
    let garbage = |count| (0..count).flat_map(|_| dice.next().to_le_bytes()).collect::<Vec<_>>();
    let half_a_frame = frame[..frame.len() / 2].to_vec();
    for tail in [garbage(1), garbage(3), garbage(4_000), half_a_frame, frame.to_vec()] {
        let torn = copy_of(written.directory.path());
        fs::write(torn.path().join("log.db-wal"), [&wal[..], &tail].concat()).expect("written");
        let app = start(&torn);
        assert_eq!(written.left(&app), written.messages.len());
        assert_eq!(epoch(&app), written.epoch);
        say(&app, "session-of-files-0", "goes on");
        assert!(!app.printed(&LOST[1..]));
    }
}

#[test]
fn lost_acknowledged_commits_are_reported_and_start_an_epoch() {
    let (written, mut app) = Written::new(40);
    app.kill();
    let whole = wal(&written.directory);
    let dice = SeededEntropy::new(3);
    let mut losses = Vec::new();
    for round in 0..8 {
        let damaged = copy_of(written.directory.path());
        let at = usize::try_from(dice.next()).expect("fits") % whole.len();
        let mut wal = whole.clone();
        if round % 2 == 0 {
            wal.truncate(at);
        } else {
            let end = whole.len().min(at + 1 + round * 500);
            wal.drain(at..end);
        }
        fs::write(damaged.path().join("log.db-wal"), wal).expect("written");
        let mut app = start(&damaged);
        let left = written.left(&app);
        losses.push(written.messages.len() - left);
        eventually("the loss is reported", || app.printed(&LOST));
        say(&app, "a-session-after-it", "one");
        say(&app, "a-session-after-it", "two");
        let new = epoch(&app);
        assert_ne!(new, written.epoch);
        app.kill();
        let app = start(&damaged);
        assert_eq!((epoch(&app), history(&app, "a-session-after-it").len()), (new, 2));
        assert_eq!(written.left(&app), left);
        assert!(!app.printed(&LOST[1..]), "reported once");
    }
    assert!(losses.iter().any(|lost| *lost > 0 && *lost < written.messages.len()), "{losses:?}");
}

#[test]
fn a_flipped_byte_is_reported_and_hurts_no_other_session() {
    let (written, app) = Written::new(8);
    say(&app, "session-of-files-1", "the text that is altered");
    let across = app.get(SECRET_KEY, "/api/chat/messages?userId=ann");
    assert_eq!(across.status, 200, "the inbox has folded it");
    app.stop();
    // Moves what may be left in the write-ahead log to where it is altered.
    drop(SqliteStore::open(written.directory.path(), &Ambient::system()).expect("a store"));
    let path = written.directory.path().join("log.db");
    let mut bytes = fs::read(&path).expect("a database");
    let text = b"the text that is altered";
    let at = bytes.windows(text.len()).position(|window| window == text).expect("it is in the file");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");

    let app = AppLauncher::new().data(written.directory.path()).unchecked().start();
    for _ in 0..2 {
        let damaged = app.get(SECRET_KEY, "/api/chat/messages?sessionId=session-of-files-1");
        assert_eq!(damaged.error(), (500, "INTERNAL_ERROR"));
        assert!(!damaged.body.to_string().contains("he text"), "{damaged:?}");
    }
    eventually("the damage is reported", || app.printed(&["\"level\":\"ERROR\"", "damage in the log"]));
    let across = app.get(SECRET_KEY, "/api/chat/messages?userId=ann");
    assert_eq!(across.error(), (500, "INTERNAL_ERROR"), "an answer that holds it is no answer");
    for other in [0, 2, 3] {
        let session = format!("session-of-files-{other}");
        assert_eq!(history(&app, &session).len(), 2);
        say(&app, &session, "still served");
    }
    assert_eq!(app.get(SECRET_KEY, "/healthz").status, 200);
}

#[test]
fn a_second_program_on_a_directory_is_refused_and_says_why() {
    let (written, app) = Written::new(4);
    let second = AppLauncher::new().data(written.directory.path()).output();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains(&written.directory.path().display().to_string()), "{said}");
    say(&app, "session-of-files-0", "the first one goes on");
}

#[test]
fn the_read_models_are_rebuilt_from_the_log() {
    let (written, mut app) = Written::new(1_200);
    let before = user_history(&app);
    assert_eq!(before.len(), written.messages.len());
    app.kill();
    let remove = |path: &Path| {
        for file in ["views.db", "views.db-wal", "views.db-shm"] {
            fs::remove_file(path.join(file)).expect("removed");
        }
    };
    let no_database = |path: &Path| {
        remove(path);
        fs::write(path.join("views.db"), [b'x'; 20_000]).expect("written");
    };
    let garbage_within = |path: &Path| {
        let conn = Connection::open(path.join("views.db")).expect("a database");
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("it is all in one file");
        drop(conn);
        let mut bytes = fs::read(path.join("views.db")).expect("a database");
        for file in fs::read_dir(path).expect("a directory").flatten() {
            if file.file_name().to_string_lossy().starts_with("views.db") {
                fs::remove_file(file.path()).expect("removed");
            }
        }
        let half = bytes.len() / 2;
        assert!(half > 4_096, "it has pages: {half}");
        bytes[half..].fill(0xa5);
        fs::write(path.join("views.db"), bytes).expect("written");
    };
    let changes: [&dyn Fn(&Path); 3] = [&remove, &no_database, &garbage_within];
    for change in changes {
        let changed = copy_of(written.directory.path());
        change(changed.path());
        assert_eq!(user_history(&start(&changed)), before);
    }
}

fn start(directory: &TempDir) -> TestApp {
    AppLauncher::new().data(directory.path()).start()
}

fn say(app: &TestApp, session: &str, text: &str) -> String {
    let body = json!({"sessionId": session, "text": text, "userId": "ann"});
    let answer = app.post(WIDGET_KEY, "/webchat/message", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["messageId"].as_str().expect("an id").to_owned()
}

/// The log's epoch, which is in the cursor of a user's history.
fn epoch(app: &TestApp) -> String {
    let answer = app.get(SECRET_KEY, "/api/chat/messages?userId=ann&limit=1");
    assert_eq!(answer.status, 200, "{answer:?}");
    let cursor = answer.body["nextCursor"].as_str().expect("a cursor");
    cursor.split('.').nth(1).expect("an epoch").to_owned()
}

/// A user's messages across sessions, in pages of seventy, the newest page first.
fn user_history(app: &TestApp) -> Vec<Value> {
    let mut messages = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = app.get(SECRET_KEY, &format!("/api/chat/messages?userId=ann&limit=70{cursor}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        messages.extend(answer.body["messages"].as_array().expect("a list").clone());
        match answer.body["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return messages,
        }
    }
}

fn wal(directory: &TempDir) -> Vec<u8> {
    fs::read(directory.path().join("log.db-wal")).expect("a write-ahead log")
}

/// The size of a frame: the page size is in the header, and a frame has 24 bytes more.
fn frame_bytes(wal: &[u8]) -> usize {
    let size: [u8; 4] = wal[8..12].try_into().expect("four bytes");
    usize::try_from(u32::from_be_bytes(size)).expect("fits") + 24
}
