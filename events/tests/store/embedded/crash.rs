//! What the embedded store finds after a clean close, after a crash, and when the disk lost what it had synced.
//!
//! A crash is simulated by a copy of the files of a store that is still open.

use std::{fs, path::Path};

use amoiq_events::{
    Ambient, EventLog, Position,
    ambient::SeededEntropy,
    store::LogMaintenance,
    store::{
        ExpectedVersion, ReadDirection,
        sqlite::{OpenError, SqliteStore},
    },
};
use tempfile::TempDir;

use crate::given::{assert_whole, copy, events, numbers, open, stream, whole_log, within};

#[tokio::test]
async fn a_clean_close_leaves_everything_in_one_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    fill(&store, 1, 300).await;
    let (log, epoch) = (whole_log(&store).await, store.epoch());
    drop(store);
    let left = fs::metadata(dir.path().join("log.db-wal")).map_or(0, |file| file.len());
    assert_eq!(left, 0, "nothing waits in the write-ahead log");
    let store = open(dir.path());
    assert_eq!(store.recovery().lost_up_to, None);
    assert_eq!((whole_log(&store).await, store.epoch()), (log, epoch));
    assert_whole(&store).await;
}

#[tokio::test]
async fn a_second_open_of_a_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    match SqliteStore::open(dir.path(), &Ambient::system()) {
        Err(OpenError::InUse(path, _)) => assert_eq!(path, dir.path()),
        other => panic!("opened twice: {:?}", other.map(|_| ())),
    }
    drop(store);
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_crash_loses_nothing_and_keeps_the_epoch() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    // More than one mark in a stream, and heads that are only in memory.
    fill(&store, 1, 700).await;
    within(store.truncate(stream("3"), amoiq_events::Version::from_u64(40))).await.expect("truncated");
    within(store.delete(stream("4"))).await.expect("deleted");
    fill(&store, 701, 1_000).await;
    let (log, head) = (whole_log(&store).await, store.head());
    let mut crashed = copy(dir.path());
    for _ in 0..3 {
        let again = open(crashed.path());
        assert_eq!(again.recovery().lost_up_to, None);
        assert_eq!((again.epoch(), again.head()), (store.epoch(), head));
        assert!(whole_log(&again).await == log, "everything is there");
        assert_whole(&again).await;
        // A crash right after the start finds the same.
        crashed = copy(crashed.path());
    }
    let again = open(crashed.path());
    fill(&again, 1_001, 1_300).await;
    assert_whole(&again).await;
}

#[tokio::test]
async fn a_crash_after_many_streams_keeps_every_head() {
    const STREAMS: u64 = 70_000;
    let name = |number: u64| stream(&format!("{number}"));
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    // More streams than are kept in memory: some heads are in the database, some are not.
    for first in (1..=STREAMS).step_by(10_000) {
        let append = |number| store.append(name(number), ExpectedVersion::NoStream, events(number..=number));
        let appends: Vec<_> = (first..first + 10_000).map(append).collect();
        for append in appends {
            within(append).await.expect("appended");
        }
    }
    fill(&store, STREAMS + 1, STREAMS + 200).await;
    let crashed = copy(dir.path());
    let again = open(crashed.path());
    assert!(whole_log(&again).await == whole_log(&store).await);
    for number in (11..=STREAMS).step_by(61) {
        let next = STREAMS + 1_000 + number;
        let known = ExpectedVersion::Exact(amoiq_events::Version::from_u64(1));
        let append = within(again.append(name(number), known, events(next..=next)));
        assert_eq!(append.await.expect("the head is known").version.as_u64(), 2);
        let read = again.read_stream(name(number), amoiq_events::Version::NONE, ReadDirection::Forward, 10);
        assert_eq!(numbers(&within(read).await.expect("read")), [number, next]);
    }
}

#[tokio::test]
async fn garbage_after_the_last_commit_is_ignored() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    fill(&store, 1, 50).await;
    let log = whole_log(&store).await;
    for garbage in [1, 24, 4_096, 4_120, 30_000] {
        let crashed = copy(dir.path());
        let entropy = Ambient::new(
            std::sync::Arc::new(amoiq_events::ambient::SystemClock),
            std::sync::Arc::new(SeededEntropy::new(garbage)),
        );
        let mut wal = fs::read(crashed.path().join("log.db-wal")).expect("a write-ahead log");
        wal.extend((0..garbage).flat_map(|_| entropy.bytes::<1>()));
        fs::write(crashed.path().join("log.db-wal"), wal).expect("written");
        assert_nothing_lost(&crashed, &store, &log).await;
    }
}

#[tokio::test]
async fn half_of_an_unacknowledged_commit_is_ignored() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    fill(&store, 1, 50).await;
    let log = whole_log(&store).await;
    let acknowledged = copy(dir.path());
    let before = wal_length(dir.path());
    within(store.append(stream("a"), ExpectedVersion::Any, events(100..=140))).await.expect("appended");
    let after = wal_length(dir.path());
    assert!(after > before);
    for length in [before + 1, before + 24, before + (after - before) / 2, after - 1] {
        let crashed = copy(dir.path());
        cut(crashed.path(), length);
        fs::copy(acknowledged.path().join("log.witness"), crashed.path().join("log.witness"))
            .expect("copied");
        assert_nothing_lost(&crashed, &store, &log).await;
    }
}

#[tokio::test]
async fn lost_acknowledged_events_are_reported_and_start_an_epoch() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    fill(&store, 1, 120).await;
    let (log, acknowledged) = (whole_log(&store).await, store.head());
    let length = wal_length(dir.path());
    let entropy = SeededEntropy::new(7);
    for _ in 0..25 {
        let crashed = copy(dir.path());
        cut(crashed.path(), entropy.next() % length);
        let again = open(crashed.path());
        let left = whole_log(&again).await;
        assert!(log.starts_with(&left), "a prefix without a gap");
        assert_whole(&again).await;
        let head = left.last().map_or(Position::START, |event| event.position);
        assert_eq!(again.recovery().head, head);
        assert_eq!(again.recovery().lost_up_to, Some(acknowledged));
        assert_ne!(again.epoch(), store.epoch());
        let appended =
            within(again.append(stream("new"), ExpectedVersion::NoStream, events(900..=900))).await;
        assert!(appended.expect("appended").position > acknowledged, "no position twice");
        let epoch = again.epoch();
        drop(again);
        let third = open(crashed.path());
        assert_eq!((third.epoch(), third.recovery().lost_up_to), (epoch, None), "reported once");
        assert_eq!(whole_log(&third).await.len(), left.len() + 1);
        assert_whole(&third).await;
    }
}

#[tokio::test]
async fn events_removed_at_the_end_do_not_count_as_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut directory = dir;
    let entropy = SeededEntropy::new(11);
    let mut highest = Position::START;
    for round in 1..=12 {
        let store = open(directory.path());
        assert_eq!(store.recovery().lost_up_to, None, "round {round}");
        assert_eq!(store.head(), highest);
        for number in round * 100..round * 100 + 5 {
            let append = store.append(stream("end"), ExpectedVersion::Any, events(number..=number));
            let position = within(append).await.expect("appended").position;
            assert!(position > highest, "a position was given out twice");
            highest = position;
        }
        match entropy.next() % 3 {
            0 => within(store.delete(stream("end"))).await.expect("deleted"),
            1 => within(store.truncate(stream("end"), amoiq_events::Version::from_u64(u64::MAX)))
                .await
                .expect("truncated"),
            _ => {}
        }
        if entropy.next().is_multiple_of(2) {
            let crashed = copy(directory.path());
            drop(store);
            directory = crashed;
        }
    }
}

/// Appends numbered events in turn to ten streams, several to a commit and one to a commit.
async fn fill(store: &SqliteStore, first: u64, last: u64) {
    for number in first..=last {
        let name = stream(&format!("{}", number % 10));
        within(store.append(name, ExpectedVersion::Any, events(number..=number))).await.expect("appended");
    }
}

async fn assert_nothing_lost(crashed: &TempDir, store: &SqliteStore, log: &[amoiq_events::RecordedEvent]) {
    let again = open(crashed.path());
    assert_eq!(again.recovery().lost_up_to, None);
    assert_eq!(again.epoch(), store.epoch());
    assert_eq!(numbers(&whole_log(&again).await), numbers(log));
    assert_whole(&again).await;
}

fn wal_length(directory: &Path) -> u64 {
    fs::metadata(directory.join("log.db-wal")).expect("a write-ahead log").len()
}

fn cut(directory: &Path, length: u64) {
    let wal = fs::File::options().write(true).open(directory.join("log.db-wal")).expect("a write-ahead log");
    wal.set_len(length).expect("cut");
}
