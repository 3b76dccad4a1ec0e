//! What is removed is in no answer of the server after a scrub, of no node.

use amoiq_events::{
    EventLog, NewEvent, Version,
    store::{AppendError, ExpectedVersion, LogMaintenance},
};
use amoiq_testkit::{KurrentServer, eventually};

use super::{append, append_at_last, open};
use crate::given::{event, numbers, stream, whole_log, within};

/// An event with a text that no other has.
fn secret(number: u64, text: &str) -> NewEvent {
    NewEvent { data: format!(r#"{{"text":"{text}"}}"#).into_bytes().into(), ..event(number) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_texts_are_on_no_node_after_a_scrub() {
    let server = KurrentServer::start_cluster(2);
    let store = open(&server);
    for (session, text) in [
        ("deleted", "text-of-the-deleted"),
        ("truncated", "text-of-the-truncated"),
        ("kept", "text-that-stays"),
    ] {
        let both = vec![secret(1, text), secret(2, text)];
        within(store.append(stream(session), ExpectedVersion::NoStream, both)).await.expect("appended");
    }
    within(store.append(
        stream("part"),
        ExpectedVersion::NoStream,
        vec![secret(5, "first-part"), secret(6, "second-part")],
    ))
    .await
    .expect("appended");
    within(store.delete(stream("deleted"))).await.expect("deleted");
    within(store.truncate(stream("truncated"), Version::LAST)).await.expect("truncated");
    within(store.truncate(stream("part"), Version::from_u64(2))).await.expect("truncated");
    let removed = ["text-of-the-deleted", "text-of-the-truncated", "first-part"];
    for text in removed {
        assert!(server.shows(0, text), "the server still has it");
    }
    let head = store.head();
    within(store.scrub()).await.expect("scrubbed");
    for node in 0..2 {
        for text in removed {
            assert!(!server.shows(node, text), "{text} on node {node}");
        }
        assert!(server.shows(node, "text-that-stays") && server.shows(node, "second-part"));
    }
    // Positions before it still lead on, also for a node that starts afterwards.
    drop(store);
    let store = open(&server);
    assert_eq!(store.head(), head, "the head does not go back");
    assert_eq!(numbers(&within(store.read_all(head, 10)).await.expect("read")), Vec::<u64>::new());
    assert_eq!(append(&store, "deleted", 7).await.expect("appended").version, Version::FIRST);
    assert_eq!(append(&store, "truncated", 8).await.expect("appended").version, Version::from_u64(3));
    assert_eq!(numbers(&whole_log(&*store).await), [1, 2, 6, 7, 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_is_not_complete_while_a_node_is_away() {
    let mut server = KurrentServer::start_cluster(2);
    let store = open(&server);
    append(&store, "a", 1).await.expect("appended");
    within(store.delete(stream("a"))).await.expect("deleted");
    tokio::task::block_in_place(|| server.kill(1));
    let refused = within(store.scrub()).await;
    assert!(
        matches!(&refused, Err(AppendError::Unavailable(reason)) if reason.contains("away")),
        "{refused:?}"
    );
    tokio::task::block_in_place(|| server.resume(1));
    within(store.scrub()).await.expect("scrubbed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_an_operator_removed_do_not_stop_the_others() {
    let server = KurrentServer::start();
    let store = open(&server);
    for (number, session) in (1..).zip(["soft", "hard", "other"]) {
        append(&store, session, number).await.expect("appended");
    }
    server.soft_delete("amoiq-session:acme:soft");
    server.tombstone("amoiq-session:acme:hard");
    eventually("the removal is noticed", || {
        let log =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(whole_log(&*store)));
        !numbers(&log).contains(&1)
    });
    assert!(
        within(store.read_stream(
            stream("hard"),
            Version::FIRST,
            amoiq_events::store::ReadDirection::Forward,
            9
        ))
        .await
        .expect("read")
        .is_empty()
    );
    let refused = append(&store, "hard", 4).await;
    assert!(
        matches!(&refused, Err(AppendError::Unavailable(reason)) if reason.contains("removed for good")),
        "{refused:?}"
    );
    assert_eq!(append_at_last(&store, "soft", 5).await.version, Version::from_u64(2));
    append(&store, "other", 6).await.expect("appended");
}
