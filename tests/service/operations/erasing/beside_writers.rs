//! `amoiq erase` while others write without a pause: what was reported as erased is in no file.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use amoiq_testkit::{AppLauncher, OperatorClient, SECRET_KEY, TestApp, WIDGET_KEY, cli};
use reqwest::Method;
use serde_json::json;

use crate::operations::stores::written_stores::say_as_ann;

/// How many people are erased when `AMOIQ_ERASURES` does not say. `tests/long/erasure` erases 500.
const PEOPLE: usize = 60;

const WRITERS: usize = 8;

/// Between two messages of a writer.
const PAUSE: Duration = Duration::from_millis(4);

/// The files of a data directory that contain a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        // A file may disappear between the listing and the reading.
        .filter(|path| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text)))
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn data_erased_beside_eight_writers_is_in_no_file_when_the_answer_comes() {
    let data = tempfile::tempdir().expect("a directory");
    let service = AppLauncher::new()
        .data(data.path())
        .settings(&[
            ("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8"),
            ("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0"),
        ])
        .start();
    // Nobody listens there: deliveries wait in the outbox.
    let hook = json!({ "url": "http://127.0.0.1:9/hook" });
    assert_eq!(service.post(SECRET_KEY, "/api/webhooks", &hook).status, 201);
    let is_over = AtomicBool::new(false);
    // Held for each message and while the files are searched: what the next message would overwrite counts too.
    let writing = RwLock::new(());
    let waited = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (service, is_over, writing, waited) = (&service, &is_over, &writing, &waited);
            scope.spawn(move || {
                let mut number = 0_usize;
                while !is_over.load(Ordering::Relaxed) {
                    let session = format!("session-of-writer-{writer}-{:04}", number % 50);
                    let held = writing.read().expect("a lock");
                    let begun = Instant::now();
                    assert_eq!(say_as_ann(service, &session, "short").status, 200);
                    waited.lock().expect("a lock").push(begun.elapsed());
                    drop(held);
                    // Without a pause each page fills up so fast that nothing stays in its free part.
                    thread::sleep(PAUSE);
                    number += 1;
                }
            });
        }
        let _over = SetOnDrop(&is_over);
        let left = erase_everybody(&service, data.path(), &writing);
        assert_eq!(left, Vec::<(String, Vec<String>)>::new());
    });
    say("a message beside them", waited.into_inner().expect("a lock"));
    service.stop();
    assert_eq!(files_with(data.path(), "trace-of-"), Vec::<String>::new());
    let (code, verification) = cli::verify(data.path(), &[]);
    assert_eq!(code, 0, "{verification}");
}

/// Ends the writers, also when the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Prints how long something took, for long runs.
fn say(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let part =
        |percent: usize| took.get(took.len() * percent / 100).or(took.last()).copied().unwrap_or_default();
    eprintln!("{what} of {}: p50 {:?}, p99 {:?}, at most {:?}", took.len(), part(50), part(99), part(100));
}

/// Has people write, and erases them one after the other. Returns what was left of whom and where.
fn erase_everybody(service: &TestApp, data: &Path, writing: &RwLock<()>) -> Vec<(String, Vec<String>)> {
    let people = std::env::var("AMOIQ_ERASURES").map_or(PEOPLE, |count| count.parse().expect("a number"));
    let operator = OperatorClient::of(service);
    let (mut left, mut took) = (Vec::new(), Vec::new());
    for person in 0..people {
        let (trace, user) = (format!("trace-of-{person:03}-"), format!("user-{person}"));
        for number in 0..24 {
            let message = json!({
                "sessionId": format!("session-to-erase-{person:03}-{}", number % 3), "userId": user,
                "text": format!("{trace} {number} {}", "x".repeat([0, 1_500, 6_000][number * 5 % 7 % 3])),
                "userInfo": { "name": trace },
            });
            assert_eq!(service.post(WIDGET_KEY, "/webchat/message", &message).status, 200);
        }
        let begun = Instant::now();
        let person = json!({ "tenant": "demo", "user": user });
        operator.send(Method::POST, "/operator/erase", Some(&person)).expect_status(200);
        took.push(begun.elapsed());
        let _nobody_writes = writing.write().expect("a lock");
        let files = files_with(data, &trace);
        if !files.is_empty() {
            left.push((trace, files));
        }
    }
    say("an erasure", took);
    left
}
