//! What removing events leaves in the files of the embedded store.

use amoiq_events::{
    EventStore, Position, Version,
    store::{
        Expected,
        sqlite::{Kind, verify},
    },
};

use crate::given::{events, open, stream, within};

#[tokio::test]
async fn marks_of_what_was_truncated_are_not_written_at_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    within(store.append(stream("a"), Expected::NoStream, events(1..=300))).await.expect("appended");
    within(store.truncate(stream("a"), Version::from_u64(200))).await.expect("truncated");
    within(store.append(stream("a"), Expected::Any, events(301..=400))).await.expect("appended");
    drop(store);
    let verified = verify(dir.path(), Position::START, &mut |_| {}).expect("it opens");
    assert_eq!(verified.counts.get(&Kind::Mark), None, "{:?}", verified.counts);
}
