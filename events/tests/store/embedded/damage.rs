//! What the embedded store says about a database that is not what it wrote.

use std::fs;

use amoiq_events::{
    Ambient, EventLog, NewEvent, Position, Version,
    store::LogMaintenance,
    store::{
        ExpectedVersion, ReadDirection, ReadError,
        sqlite::{OpenError, SqliteStore},
    },
};

use crate::given::{event, numbers, open, stream, within};

#[tokio::test]
async fn a_flipped_byte_is_reported_with_its_position_and_hurts_no_other_stream() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let marked = NewEvent { data: b"\"the event whose byte flips\"".to_vec().into(), ..event(5) };
    for (session, append) in [("a", vec![event(1)]), ("b", vec![event(2)]), ("a", vec![marked])] {
        within(store.append(stream(session), ExpectedVersion::Any, append)).await.expect("appended");
    }
    let damaged = store.head();
    within(store.append(stream("b"), ExpectedVersion::Any, vec![event(6)])).await.expect("appended");
    drop(store);
    flip(&dir.path().join("log.db"), b"the event whose byte flips");

    let store = open(dir.path());
    assert_eq!(store.recovery().lost_up_to, None);
    for direction in [ReadDirection::Forward, ReadDirection::Backward] {
        let read = within(store.read_stream(stream("a"), Version::from_u64(2), direction, 10)).await;
        assert_corrupt(read, damaged);
        let other = within(store.read_stream(stream("b"), Version::from_u64(1), direction, 10)).await;
        assert!(!other.expect("the other stream reads").is_empty());
    }
    assert_corrupt(within(store.read_all(Position::START, 10)).await, damaged);
    let after = within(store.read_all(damaged, 10)).await.expect("what follows reads");
    assert_eq!(numbers(&after), [6]);
    let mut subscription = store.subscribe(Position::START);
    assert!(matches!(within(subscription.next()).await, Err(ReadError::EventDamaged { .. })));

    let next =
        within(store.append(stream("a"), ExpectedVersion::Exact(Version::from_u64(2)), vec![event(7)]));
    next.await.expect("a damaged stream can still grow");
    within(store.delete(stream("a"))).await.expect("and be deleted");
    let rest = within(store.read_all(Position::START, 10)).await.expect("the log reads again");
    assert_eq!(numbers(&rest), [2, 6]);
}

#[tokio::test]
async fn a_database_of_another_release_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let conn = rusqlite::Connection::open(dir.path().join("log.db")).expect("a database");
    conn.pragma_update(None, "user_version", 99).expect("written");
    drop(conn);
    match SqliteStore::open(dir.path(), &Ambient::system()) {
        Err(OpenError::Schema { found: 99, known }) => assert_ne!(known, 99),
        other => panic!("not refused as it should be: {:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("log.db"), vec![b'x'; 8_192]).expect("written");
    let opened = SqliteStore::open(dir.path(), &Ambient::system());
    assert!(matches!(opened, Err(OpenError::Database(_))));
}

fn assert_corrupt<T: std::fmt::Debug>(read: Result<T, ReadError>, at: Position) {
    match read {
        Err(ReadError::EventDamaged { position, .. }) => assert_eq!(position, at),
        other => panic!("not reported: {other:?}"),
    }
}

/// Flips one bit of the text where it is in the file.
fn flip(path: &std::path::Path, text: &[u8]) {
    let mut bytes = fs::read(path).expect("the database");
    let mut found = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text);
    let (at, _) = found.next().expect("the text is in the file");
    assert!(found.next().is_none(), "once");
    *bytes.get_mut(at).expect("in the file") ^= 1;
    fs::write(path, bytes).expect("written");
}
