//! The write-ahead log after a reader that paused.

use std::fs;

use amoiq_testkit::{SECRET_KEY, TestApp, eventually};
use rusqlite::Connection;

use crate::operations::stores::written_stores::say_as_ann;

const MIB: u64 = 1024 * 1024;

#[test]
fn a_write_ahead_log_is_truncated_when_the_reader_that_needed_it_is_gone() {
    let data = tempfile::tempdir().expect("a directory");
    let service = TestApp::start_on(data.path());
    assert_eq!(say_as_ann(&service, "session-of-ann", "hello").status, 200);
    let size = || fs::metadata(data.path().join("log.db-wal")).map_or(0, |file| file.len());
    let reader = Connection::open(data.path().join("log.db")).expect("log.db");
    reader.execute_batch("BEGIN; SELECT count(*) FROM log").expect("it reads");
    // Four bytes each.
    let text = "\u{1f980}".repeat(10_000);
    let mut number = 0;
    while size() < 80 * MIB {
        assert_eq!(say_as_ann(&service, &format!("session-of-{}", number % 20), &text).status, 200);
        number += 1;
    }
    drop(reader);
    // Nobody writes any more.
    eventually("it is cut", || size() < 64 * MIB);
    assert_eq!(service.texts(SECRET_KEY, "session-of-ann"), Ok(vec!["hello".to_owned()]));
    service.stop();
}
