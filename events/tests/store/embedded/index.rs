//! A damaged index: it is rebuilt from the log while the store is used, and until then it causes no wrong answer.
//!
//! The bytes are changed within a page of the file, so that rows stay where their old names belong.

use std::{ops::Range, path::Path};

use amoiq_events::{
    Ambient, EventLog, Position, StreamName, Version,
    store::LogMaintenance,
    store::{AppendError, ExpectedVersion, ReadDirection, ReadError, sqlite::repair_index},
};
use rusqlite::Connection;

use crate::given::{event, numbers, open, stream, within};

/// Enough streams that their table has pages below its root.
const STREAMS: u64 = 600;

/// Enough events that the log has, too.
const EVENTS: u64 = 3_000;

#[tokio::test]
async fn a_stream_never_starts_twice_because_a_name_in_the_index_is_damaged() {
    // One in the middle of a page, and one in a page that points to others.
    for is_leaf in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        let append = |number| store.append(named(number), ExpectedVersion::NoStream, vec![event(number)]);
        for appended in (1..=STREAMS).map(append).collect::<Vec<_>>() {
            within(appended).await.expect("new");
        }
        drop(store);
        damage_a_name(&dir.path().join("log.db"), is_leaf);

        let store = open(dir.path());
        let prefix = "session:";
        let names = within(store.streams(prefix, None, 1_000)).await.expect("reading waits for the repair");
        assert_eq!(names, (1..=STREAMS).map(named).collect::<Vec<_>>());
        for number in 1..=STREAMS {
            let appended = loop {
                let append = store.append(named(number), ExpectedVersion::Any, vec![event(STREAMS + number)]);
                match within(append).await {
                    Ok(appended) => break appended,
                    Err(AppendError::Unavailable(_)) => {}
                    Err(other) => panic!("refused for good: {other}"),
                }
            };
            assert_eq!(appended.version.as_u64(), 2, "stream {number}, leaf: {is_leaf}");
        }
        for number in 1..=STREAMS {
            let read = store.read_stream(named(number), Version::from_u64(1), ReadDirection::Forward, 10);
            assert_eq!(numbers(&within(read).await.expect("it reads")), [number, STREAMS + number]);
        }
    }
}

#[tokio::test]
async fn reading_the_log_never_skips_what_a_damaged_key_hides() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for number in (1..=EVENTS).step_by(500) {
        let events = (number..number + 500).map(event).collect();
        within(store.append(stream("a"), ExpectedVersion::Any, events)).await.expect("appended");
    }
    drop(store);
    lower_a_key(&dir.path().join("log.db"));

    let store = open(dir.path());
    let mut hidden = 0;
    for after in 0..EVENTS {
        match within(store.read_all(Position::from_u64(after), 3)).await {
            Ok(events) => {
                let expected: Vec<u64> = (after + 1..=EVENTS).take(3).collect();
                assert_eq!(numbers(&events), expected, "after {after}");
            }
            Err(ReadError::EventDamaged { .. }) => hidden += 1,
            Err(other) => panic!("after {after}: {other}"),
        }
    }
    assert!(hidden > 0, "the key hides nothing: it is not damaged");
}

#[tokio::test]
async fn appends_run_in_between_while_a_long_stream_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for number in (1..=EVENTS).step_by(500) {
        let events = (number..number + 500).map(event).collect();
        within(store.append(stream("long"), ExpectedVersion::Any, events)).await.expect("appended");
    }
    let removal = store.delete(stream("long"));
    within(store.append(stream("other"), ExpectedVersion::NoStream, vec![event(9_001)]))
        .await
        .expect("appended");
    let left = within(store.read_all(Position::START, 1)).await.expect("it reads");
    assert_eq!(left.len(), 1);
    assert!(left.iter().all(|first| first.stream == stream("long")), "all of it was removed first");
    within(removal).await.expect("removed");
    let rest = within(store.read_all(Position::START, 10)).await.expect("it reads");
    assert_eq!(numbers(&rest), [9_001]);
}

#[tokio::test]
async fn a_damaged_name_before_a_prefix_is_not_left_out_of_its_list() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = three_streams(dir.path()).await;
    let path = dir.path().join("log.db");
    lower_the_first_name(&path);
    refuse_an_index(&path);

    let store = open(dir.path());
    let listed = within(store.streams("session:", None, 10)).await;
    assert!(matches!(listed, Err(ReadError::IndexDamaged { table: "streams" })), "without one: {listed:?}");
    drop(store);
    accept_an_index(&path);

    let store = open(dir.path());
    assert_eq!(within(store.streams("session:", None, 10)).await, Ok(names));
}

#[tokio::test]
async fn an_index_that_could_not_be_rebuilt_is_rebuilt_when_damage_is_next_found() {
    let dir = tempfile::tempdir().expect("a directory");
    three_streams(dir.path()).await;
    let path = dir.path().join("log.db");
    damage_a_head(&path, "b");
    refuse_an_index(&path);

    let store = open(dir.path());
    let read = || store.read_stream(stream("b"), Version::from_u64(1), ReadDirection::Forward, 10);
    for _ in 0..3 {
        let refused = within(read()).await;
        let Err(error @ ReadError::IndexDamaged { table: "streams" }) = refused else {
            panic!("{refused:?}");
        };
        assert!(error.to_string().contains("stop the service and run `amoiq verify --repair`"), "{error}");
    }
    accept_an_index(&path);
    assert_eq!(numbers(&within(read()).await.expect("it was made again")), [2]);
}

#[tokio::test]
async fn a_rebuilt_index_knows_up_to_where_events_were_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = three_streams(dir.path()).await;
    let path = dir.path().join("log.db");
    let store = open(dir.path());
    // It goes on after the floor, and its first event there is not the first of a stream.
    within(store.truncate(stream("a"), Version::from_u64(u64::MAX))).await.expect("truncated");
    for (session, number) in [("a", 4), ("b", 5), ("c", 6), ("b", 7)] {
        within(store.append(stream(session), ExpectedVersion::Any, vec![event(number)]))
            .await
            .expect("appended");
    }
    drop(store);
    damage_a_head(&path, "b");
    assert_eq!(floor(&path), 3);

    let store = open(dir.path());
    let read = store.read_stream(stream("b"), Version::from_u64(1), ReadDirection::Forward, 10);
    assert_eq!(numbers(&within(read).await.expect("it waits for the repair")), [2, 5, 7]);
    assert_eq!(within(store.streams("", None, 10)).await, Ok(names));
    drop(store);
    assert_eq!(floor(&path), 3, "nothing was removed behind it");

    let conn = Connection::open(&path).expect("a database");
    assert_eq!(conn.execute("DELETE FROM log WHERE position = 6", []).expect("deleted"), 1);
    drop(conn);
    let store = open(dir.path());
    let passed = within(store.read_all(Position::START, 10)).await;
    assert!(matches!(passed, Err(ReadError::EventDamaged { .. })), "passed by what is lost: {passed:?}");
}

#[tokio::test]
async fn an_index_is_not_built_from_a_log_that_lacks_an_event() {
    let dir = tempfile::tempdir().expect("a directory");
    three_streams(dir.path()).await;
    let path = dir.path().join("log.db");
    damage_a_head(&path, "a");
    let conn = Connection::open(&path).expect("a database");
    assert_eq!(conn.execute("DELETE FROM log WHERE position = 2", []).expect("deleted"), 1);
    drop(conn);

    let store = open(dir.path());
    for session in ["a", "b"] {
        let read = store.read_stream(stream(session), Version::from_u64(1), ReadDirection::Forward, 10);
        let refused = within(read).await;
        assert!(matches!(&refused, Err(error) if error.is_damage()), "{session}: {refused:?}");
    }
}

#[tokio::test]
async fn a_store_that_lost_its_floor_is_repaired_from_its_events() {
    let dir = tempfile::tempdir().expect("a directory");
    three_streams(dir.path()).await;
    let path = dir.path().join("log.db");
    let store = open(dir.path());
    within(store.delete(stream("b"))).await.expect("removed");
    drop(store);
    let conn = Connection::open(&path).expect("a database");
    assert_eq!(conn.execute("DELETE FROM meta WHERE key = 'floor'", []).expect("deleted"), 1);
    drop(conn);

    repair_index(dir.path(), &Ambient::system()).expect("repaired");
    assert_eq!(floor(&path), 3);
    let store = open(dir.path());
    assert_eq!(numbers(&within(store.read_all(Position::START, 10)).await.expect("it reads")), [1, 3]);
}

fn named(number: u64) -> StreamName {
    stream(&format!("a-session-with-a-long-name-{number:06}"))
}

/// Changes a byte of a stream's name, where it is.
fn damage_a_name(path: &Path, is_leaf: bool) {
    let conn = Connection::open(path).expect("a database");
    let wanted = if is_leaf { "leaf" } else { "internal" };
    let sql = "SELECT pageno FROM dbstat WHERE name = 'streams' AND pagetype = ?1 LIMIT 1";
    let page: u32 = conn.query_row(sql, [wanted], |row| row.get(0)).expect("such a page");
    change(&conn, page, |data| {
        let name = b"a-session-with-a-long-name-00";
        let at = find(data, name).expect("a name");
        *data.get_mut(at.start + 2).expect("in the page") ^= 8;
    });
}

/// Lowers a key that points to other pages below the events before it.
#[expect(clippy::indexing_slicing, reason = "a page that is not as it should be fails the test")]
fn lower_a_key(path: &Path) {
    let conn = Connection::open(path).expect("a database");
    let sql = "SELECT pageno FROM dbstat WHERE name = 'log' AND pagetype = 'internal' LIMIT 1";
    let page: u32 = conn.query_row(sql, [], |row| row.get(0)).expect("such a page");
    change(&conn, page, |data| {
        // A cell is the number of the page to the left, then the highest key there: its last byte is the
        // first one without the highest bit.
        let cells = data[12..].chunks(2).map(|cell| usize::from(u16::from_be_bytes([cell[0], cell[1]])));
        let key = |cell: usize| (cell + 4..cell + 13).find(|at| data[*at] < 0x80).expect("a key's end");
        let at = cells.map(key).find(|at| data[*at] >= 10).expect("a key that can be lower");
        data[at] -= 10;
    });
}

fn change(conn: &Connection, page: u32, change: impl FnOnce(&mut [u8])) {
    let mut data: Vec<u8> = conn
        .query_row("SELECT data FROM sqlite_dbpage WHERE pgno = ?1", [page], |row| row.get(0))
        .expect("the page");
    change(&mut data);
    let written = conn.execute("UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1", (page, data));
    assert_eq!(written.expect("written"), 1);
}

fn find(data: &[u8], text: &[u8]) -> Option<Range<usize>> {
    let at = data.windows(text.len()).position(|window| window == text)?;
    Some(at..at + text.len())
}

/// A store with an event in each of three streams, closed.
async fn three_streams(directory: &Path) -> Vec<StreamName> {
    let store = open(directory);
    let names = ["a", "b", "c"].map(stream);
    for (number, name) in (1..).zip(&names) {
        within(store.append(name.clone(), ExpectedVersion::NoStream, vec![event(number)]))
            .await
            .expect("new");
    }
    names.to_vec()
}

/// Changes the first name so that it belongs before its prefix.
fn lower_the_first_name(path: &Path) {
    let conn = Connection::open(path).expect("a database");
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'streams'";
    let page: u32 = conn.query_row(sql, [], |row| row.get(0)).expect("the table");
    change(&conn, page, |data| {
        let at = find(data, stream("a").as_str().as_bytes()).expect("a name");
        *data.get_mut(at.start).expect("in the page") ^= 1;
    });
}

/// Lets every write of the index fail, as on a full disk.
fn refuse_an_index(path: &Path) {
    let sql =
        "CREATE TRIGGER refuse BEFORE INSERT ON streams BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    Connection::open(path).expect("a database").execute_batch(sql).expect("made");
}

fn accept_an_index(path: &Path) {
    Connection::open(path).expect("a database").execute_batch("DROP TRIGGER refuse").expect("dropped");
}

/// Damages the row of a stream.
fn damage_a_head(path: &Path, session: &str) {
    let conn = Connection::open(path).expect("a database");
    let sql = "UPDATE streams SET version = version + 1 WHERE name = ?1";
    assert_eq!(conn.execute(sql, [stream(session).as_str()]).expect("written"), 1);
}

fn floor(path: &Path) -> i64 {
    let conn = Connection::open(path).expect("a database");
    conn.query_row("SELECT value FROM meta WHERE key = 'floor'", [], |row| row.get(0)).expect("the floor")
}
