//! What is in the write-ahead log reaches the database file while the store is used.

use std::fs;

use amoiq_events::{EventLog, store::ExpectedVersion};

use crate::given::{event, open, stream, within};

/// One event in each, so that all events together are far below what is copied for their size.
const COMMITS: u64 = 2_500;

#[tokio::test]
async fn many_small_commits_are_copied_into_the_database_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let length = || fs::metadata(dir.path().join("log.db")).expect("log.db").len();
    let before = length();
    for number in 1..=COMMITS {
        within(store.append(stream("a"), ExpectedVersion::Any, vec![event(number)])).await.expect("appended");
    }
    let copied = async {
        while length() == before {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    within(copied).await;
}
