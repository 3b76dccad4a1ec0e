//! Contract: truncating and deleting streams.

use amoiq_events::{
    Version,
    store::{AppendError, ExpectedVersion, ReadDirection},
};

use crate::given::{Given, numbers, stream, versions, within};

pub(crate) async fn a_truncated_stream_keeps_its_versions_and_positions(given: &mut Given) {
    let (a, b) = (stream("a"), stream("b"));
    given.has(&a, 1..=5).await;
    given.has(&b, 6..=8).await;
    let before = given.log().await;
    given.truncate(&a, 4).await;
    let kept = |number: &u64| *number > 3;
    for _ in 0..2 {
        let log = given.log().await;
        assert!(log.iter().eq(before.iter().filter(|event| event.stream == b || event.version.as_u64() > 3)));
        let backward = given.read(&a, 5, ReadDirection::Backward, 10).await;
        assert_eq!(versions(&backward), [5, 4]);
        assert!(numbers(&backward).iter().all(kept));
        assert!(given.read(&a, 3, ReadDirection::Backward, 10).await.is_empty());
        given.reopen();
    }
    let next = given.append(&a, ExpectedVersion::Exact(Version::from_u64(5)), 9..=9).await.expect("appended");
    assert_eq!(next.version, Version::from_u64(6));
}

pub(crate) async fn a_truncated_stream_reads_full_pages_from_its_begin(given: &mut Given) {
    let a = stream("a");
    given.has(&a, 1..=300).await;
    given.truncate(&a, 151).await;
    for from in [0, 1, 100, 151] {
        let page = given.read(&a, from, ReadDirection::Forward, 10).await;
        assert_eq!(versions(&page), (151..=160).collect::<Vec<_>>(), "from {from}");
    }
}

pub(crate) async fn a_stream_truncated_whole_goes_on_counting(given: &mut Given) {
    let a = stream("a");
    given.has(&a, 1..=3).await;
    given.truncate(&a, u64::MAX).await;
    assert!(given.numbers_of(&a).await.is_empty());
    given.reopen();
    let conflict =
        AppendError::Conflict { expected: ExpectedVersion::NoStream, actual: Version::from_u64(3) };
    assert_eq!(given.append(&a, ExpectedVersion::NoStream, 4..=4).await, Err(conflict));
    assert_eq!(given.has(&a, 4..=5).await.version, Version::from_u64(5));
    given.reopen();
    assert_eq!(versions(&given.read(&a, 1, ReadDirection::Forward, 10).await), [4, 5]);
}

pub(crate) async fn truncating_before_the_begin_changes_nothing(given: &mut Given) {
    let a = stream("a");
    given.has(&a, 1..=3).await;
    for before in [0, 1] {
        given.truncate(&a, before).await;
        assert_eq!(given.numbers_of(&a).await, [1, 2, 3]);
    }
    given.truncate(&a, 3).await;
    given.truncate(&a, 2).await;
    assert_eq!(given.numbers_of(&a).await, [3]);
}

pub(crate) async fn a_long_stream_is_truncated_at_any_version(given: &mut Given) {
    let a = stream("a");
    given.has_many(&a, 1..=3_300).await;
    for before in [2, 64, 65, 128, 1_000, 1_064, 3_299, 3_300] {
        given.truncate(&a, before).await;
        let forward = given.read(&a, 1, ReadDirection::Forward, 70).await;
        assert_eq!(versions(&forward), (before..=3_300).take(70).collect::<Vec<_>>());
        let backward = given.read(&a, before + 10, ReadDirection::Backward, 100).await;
        assert_eq!(versions(&backward), (before..=3_300.min(before + 10)).rev().collect::<Vec<_>>());
    }
    given.reopen();
    assert_eq!(given.numbers_of(&a).await, [3_300]);
}

pub(crate) async fn a_deleted_stream_begins_again_at_version_one(given: &mut Given) {
    let (a, b) = (stream("a"), stream("b"));
    given.has_many(&a, 1..=2_500).await;
    let kept = given.has(&b, 2_501..=2_502).await;
    given.delete(&a).await;
    assert!(given.numbers_of(&a).await.is_empty());
    assert_eq!(numbers(&given.log().await), [2_501, 2_502]);
    given.reopen();
    let again = given.append(&a, ExpectedVersion::NoStream, 2_503..=2_504).await.expect("appended");
    assert_eq!(again.version, Version::from_u64(2));
    assert!(again.position > kept.position);
    given.reopen();
    assert_eq!(versions(&given.read(&a, 1, ReadDirection::Forward, 10).await), [1, 2]);
    assert_eq!(given.numbers_of(&b).await, [2_501, 2_502]);
}

pub(crate) async fn a_scrubbed_store_has_what_was_not_removed(given: &mut Given) {
    let (a, b) = (stream("a"), stream("b"));
    for round in 0..40 {
        given.has_many(&a, round * 50 + 1..=round * 50 + 25).await;
        given.has_many(&b, round * 50 + 26..=round * 50 + 50).await;
    }
    let kept = given.read(&b, 1, ReadDirection::Forward, 1_000).await;
    given.delete(&a).await;
    within(given.store().scrub()).await.expect("scrubbed");
    for _ in 0..2 {
        assert!(given.numbers_of(&a).await.is_empty());
        assert_eq!(given.read(&b, 1, ReadDirection::Forward, 1_000).await, kept);
        given.reopen();
    }
    assert_eq!(given.has(&a, 5_001..=5_001).await.version, Version::from_u64(1));
}

pub(crate) async fn a_deleted_stream_is_not_listed(given: &mut Given) {
    given.has(&stream("a"), 1..=1).await;
    given.has(&stream("b"), 2..=2).await;
    given.delete(&stream("a")).await;
    assert_eq!(within(given.store().streams("", None, 10)).await, Ok(vec![stream("b")]));
    given.reopen();
    assert_eq!(within(given.store().streams("", None, 10)).await, Ok(vec![stream("b")]));
}

pub(crate) async fn removing_what_is_not_there_is_no_error(given: &mut Given) {
    given.delete(&stream("a")).await;
    given.truncate(&stream("a"), 5).await;
    assert_eq!(given.has(&stream("a"), 1..=1).await.version, Version::from_u64(1));
    given.truncate(&stream("a"), u64::MAX).await;
    given.delete(&stream("a")).await;
    given.delete(&stream("a")).await;
    assert_eq!(within(given.store().streams("", None, 10)).await, Ok(Vec::new()));
}

pub(crate) async fn a_removed_event_can_be_appended_again(given: &mut Given) {
    for (session, expected) in [("a", ExpectedVersion::Any), ("b", ExpectedVersion::NoStream)] {
        let first = given.append(&stream(session), expected, 1..=3).await.expect("appended");
        given.delete(&stream(session)).await;
        let second = given.append(&stream(session), expected, 1..=3).await.expect("appended");
        assert!(second.position > first.position, "a new answer for what is there again");
        assert_eq!(given.numbers_of(&stream(session)).await, [1, 2, 3]);
        assert_eq!(given.append(&stream(session), expected, 1..=3).await, Ok(second));
    }
}

pub(crate) async fn a_truncated_stream_is_not_mistaken_for_a_repeat(given: &mut Given) {
    let a = stream("a");
    given.has(&a, 1..=5).await;
    given.truncate(&a, 3).await;
    for (expected, numbers) in [
        (ExpectedVersion::NoStream, 1..=3),
        (ExpectedVersion::NoStream, 3..=5),
        (ExpectedVersion::Exact(Version::from_u64(1)), 3..=4),
    ] {
        let conflict = AppendError::Conflict { expected, actual: Version::from_u64(5) };
        assert_eq!(given.append(&a, expected, numbers).await, Err(conflict));
    }
    let kept = given.append(&a, ExpectedVersion::Exact(Version::from_u64(2)), 3..=5).await.expect("a repeat");
    assert_eq!(kept.version, Version::from_u64(5));
}

pub(crate) async fn positions_are_not_given_out_again(given: &mut Given) {
    let mut head = given.store().head();
    for number in 1..=6 {
        let position = given.has(&stream("a"), number..=number).await.position;
        assert!(position > head, "a position was given out twice");
        head = position;
        given.delete(&stream("a")).await;
        assert_eq!(given.store().head(), head, "the head does not go back");
        if number.is_multiple_of(2) {
            given.reopen();
            assert_eq!(given.store().head(), head, "nor over a restart");
        }
    }
}

pub(crate) async fn reading_while_a_stream_is_truncated_shows_no_damage(given: &mut Given) {
    let a = stream("a");
    for round in 0..3 {
        given.has_many(&a, round * 2_000 + 1..=round * 2_000 + 2_000).await;
        let store = given.store();
        let remover = tokio::spawn({
            let (store, a) = (given.store(), a.clone());
            async move {
                for before in (1..=80).map(|step| step * 25) {
                    within(store.truncate(a.clone(), Version::from_u64(before))).await.expect("truncated");
                }
                within(store.delete(a)).await.expect("deleted");
            }
        });
        while !remover.is_finished() {
            let read = store.read_stream(a.clone(), Version::from_u64(1), ReadDirection::Forward, 50);
            let read = within(read).await.expect("no damage");
            assert!(read.is_sorted_by(|one, next| one.version.plus(1) == next.version));
        }
        remover.await.expect("the remover ends well");
    }
    assert!(given.log().await.is_empty());
}
