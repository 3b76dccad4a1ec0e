//! What removing events leaves in the files of the embedded store.

use std::{fs, path::Path, time::Duration};

use amoiq_events::{
    EventLog, NewEvent, Position, StreamName, Version,
    store::LogMaintenance,
    store::{
        ExpectedVersion,
        sqlite::{DefectKind, StoreFiles},
    },
};
use rusqlite::Connection;

use crate::given::{event, events, open, stream, within};

#[tokio::test]
async fn marks_of_what_was_truncated_are_not_written_at_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    within(store.append(stream("a"), ExpectedVersion::NoStream, events(1..=300))).await.expect("appended");
    within(store.truncate(stream("a"), Version::from_u64(200))).await.expect("truncated");
    within(store.append(stream("a"), ExpectedVersion::Any, events(301..=400))).await.expect("appended");
    drop(store);
    let verified = StoreFiles::new(dir.path(), &[]).verify(Position::START, &mut |_| {}).expect("it opens");
    assert_eq!(verified.counts.get(&DefectKind::Mark), None, "{:?}", verified.counts);
}

/// Streams whose events alternate, so that removing one stream changes every page.
const SIDE_BY_SIDE: u64 = 10;

/// How many events each of them has: a page each, and enough pages that copying them is worth a sync.
const EACH: u64 = 320;

/// All of the removals together write more than 40 MB.
const MOST_WRITE_AHEAD: u64 = 24 * 1024 * 1024;

#[tokio::test]
async fn removals_alone_are_copied_into_the_file_before_the_write_ahead_log_is_long() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let append = |number: u64| {
        let data = format!("{{\"text\":\"{}\"}}", "-".repeat(1_400)).into_bytes();
        let event = NewEvent { data: data.into(), ..event(number) };
        store.append(numbered(number % SIDE_BY_SIDE), ExpectedVersion::Any, vec![event])
    };
    for appended in (1..=SIDE_BY_SIDE * EACH).map(append).collect::<Vec<_>>() {
        within(appended).await.expect("appended");
    }
    drop(store);

    // From here on only removals write.
    let store = open(dir.path());
    for name in (0..SIDE_BY_SIDE).map(numbered) {
        assert!(holds(dir.path(), &name), "it was there");
        within(store.delete(name.clone())).await.expect("removed");
        within(async {
            while holds(dir.path(), &name) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    let write_ahead = fs::metadata(dir.path().join("log.db-wal")).expect("a write-ahead log").len();
    assert!(write_ahead < MOST_WRITE_AHEAD, "{write_ahead} bytes");
}

fn numbered(number: u64) -> StreamName {
    stream(&number.to_string())
}

/// Whether events of a stream are in the file itself. A copy that is made during a write may not be readable.
fn holds(directory: &Path, name: &StreamName) -> bool {
    let copy = tempfile::tempdir().expect("a directory");
    let path = copy.path().join("log.db");
    fs::copy(directory.join("log.db"), &path).expect("copied");
    let sql = "SELECT EXISTS (SELECT 1 FROM log WHERE stream = ?1)";
    let found = Connection::open(&path).expect("a file").query_row(sql, [name.as_str()], |row| row.get(0));
    found.unwrap_or(true)
}
