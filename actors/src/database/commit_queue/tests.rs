//! Rules of the writer's thread when changes are committed together.

use rusqlite::{Connection, Transaction};
use tempfile::TempDir;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::*;
use crate::database::{SqliteDatabase, connect};

type Answer = oneshot::Receiver<Result<(), DatabaseError>>;

fn table() -> (TempDir, Connection) {
    let files = tempfile::tempdir().unwrap();
    let conn = connect(&files.path().join("a.db")).unwrap();
    conn.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY CHECK (number < 100))").unwrap();
    (files, conn)
}

/// A change that inserts numbers, and the channel of its answer.
fn insert(sql: &'static str, numbers: &'static [i64]) -> (Box<dyn QueuedChange>, Answer) {
    let (reply, answer) = oneshot::channel();
    let work = move |transaction: &Transaction<'_>| {
        for number in numbers {
            transaction.execute(sql, [number])?;
        }
        Ok(())
    };
    (Box::new(PendingChange::new(work, reply, false)), answer)
}

fn numbers(conn: &Connection) -> Vec<i64> {
    let mut statement = conn.prepare("SELECT number FROM numbers ORDER BY number").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Commits the changes together and answers them. Returns whether each was answered with success.
fn commit_all(conn: &mut Connection, asked: Vec<(Box<dyn QueuedChange>, Answer)>) -> Vec<bool> {
    let (mut changes, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    let committed = commit(conn, &mut changes);
    changes.into_iter().for_each(|change| change.answer(committed.clone()));
    answers.into_iter().map(|mut answer| answer.try_recv().unwrap().is_ok()).collect()
}

const INSERT: &str = "INSERT INTO numbers VALUES (?1)";

#[test]
fn a_change_that_fails_is_rolled_back_alone() {
    let (_files, mut conn) = table();
    let asked = vec![insert(INSERT, &[1]), insert(INSERT, &[2, 3, 100]), insert(INSERT, &[3, 4])];
    assert_eq!(commit_all(&mut conn, asked), [true, false, true]);
    assert_eq!(numbers(&conn), [1, 3, 4]);
    assert_eq!(commit_all(&mut conn, vec![insert(INSERT, &[5, 100])]), [false]);
    assert_eq!(numbers(&conn), [1, 3, 4], "nor does one that is alone leave a part");
}

#[test]
fn a_rollback_of_the_whole_transaction_is_reported_to_every_change() {
    let (_files, mut conn) = table();
    let fatal = "INSERT OR ROLLBACK INTO numbers VALUES (?1)";
    let asked = vec![insert(INSERT, &[1]), insert(fatal, &[100]), insert(INSERT, &[2])];
    assert_eq!(commit_all(&mut conn, asked), [false, false, false]);
    assert_eq!(numbers(&conn), [0; 0]);
    assert_eq!(commit_all(&mut conn, vec![insert(INSERT, &[5])]), [true]);
    assert_eq!(numbers(&conn), [5], "the next transaction is whole again");
}

#[test]
fn a_commit_that_fails_is_reported_to_every_change() {
    let (_files, mut conn) = table();
    conn.execute_batch(
        "PRAGMA foreign_keys = ON;
        CREATE TABLE leads (number INTEGER REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)",
    )
    .unwrap();
    let asked = vec![insert(INSERT, &[1]), insert("INSERT INTO leads VALUES (?1)", &[7])];
    assert_eq!(commit_all(&mut conn, asked), [false, false]);
    assert_eq!(numbers(&conn), [0; 0]);
}

#[test]
fn nothing_is_answered_before_the_commit() {
    let (_files, mut conn) = table();
    let (change, mut answer) = insert(INSERT, &[1]);
    let mut changes = vec![change];
    let committed = commit(&mut conn, &mut changes);
    assert_eq!(answer.try_recv().unwrap_err(), TryRecvError::Empty);
    changes.into_iter().for_each(|change| change.answer(committed.clone()));
    assert!(answer.try_recv().unwrap().is_ok());
}

#[tokio::test]
async fn changes_that_may_wait_are_committed_with_the_first_that_cannot() {
    let files = tempfile::tempdir().unwrap();
    let create = |conn: &Connection| {
        conn.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")?;
        Ok::<_, DatabaseError>(())
    };
    let database = SqliteDatabase::open(&files.path().join("a.db"), "test", create).unwrap();
    let insert = |number: i64| {
        move |transaction: &Transaction<'_>| {
            transaction.execute(INSERT, [number])?;
            Ok::<_, DatabaseError>(())
        }
    };
    let waiting = (0..10).map(|number| database.write_soon(insert(number)));
    let mut waiting: Vec<_> = waiting.map(|write| Box::pin(write)).collect();
    // Each is in the writer's queue before the next is asked for.
    for write in &mut waiting {
        let still_waits = poll_once(write.as_mut()).await;
        assert!(still_waits.is_none());
    }
    database.write(insert(10)).await.unwrap();
    for write in &mut waiting {
        poll_once(write.as_mut()).await.expect("it was committed before").unwrap();
    }
}

/// Polls a future once.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
