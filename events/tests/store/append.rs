//! Contract: appending, expectations, repeats and sizes.

use amoiq_events::{
    NewEvent, Timestamp, Version,
    store::{AppendError, ExpectedVersion, MAX_APPEND_EVENTS, REMEMBERED_IDS, ReadDirection},
};

use crate::given::{Given, event, events, numbers, stream, versions, within};

pub(crate) async fn versions_count_from_one_and_positions_rise(given: &mut Given) {
    let (a, b) = (stream("a"), stream("b"));
    let first = given.append(&a, ExpectedVersion::NoStream, 1..=2).await.expect("appended");
    let second = given.append(&b, ExpectedVersion::Any, 3..=3).await.expect("appended");
    let third =
        given.append(&a, ExpectedVersion::Exact(Version::from_u64(2)), 4..=5).await.expect("appended");
    assert_eq!([first.version, second.version, third.version].map(Version::as_u64), [2, 1, 4]);
    assert!(first.position < second.position && second.position < third.position);
    let log = given.log().await;
    assert_eq!(numbers(&log), [1, 2, 3, 4, 5]);
    assert_eq!(versions(&log), [1, 2, 1, 3, 4]);
    assert_eq!(log.last().map(|last| last.position), Some(third.position));
}

pub(crate) async fn a_wrong_expectation_is_a_conflict_that_tells_the_version(given: &mut Given) {
    let a = stream("a");
    for (have, wrong) in [(0, 1), (3, 2), (3, 4), (3, 0), (3, u64::MAX)] {
        if have > 0 {
            given.has(&a, 1..=have).await;
        }
        let expected = ExpectedVersion::Exact(Version::from_u64(wrong));
        let conflict = AppendError::Conflict { expected, actual: Version::from_u64(have) };
        assert_eq!(given.append(&a, expected, 9..=9).await, Err(conflict));
    }
}

pub(crate) async fn a_conflict_appends_nothing(given: &mut Given) {
    let a = stream("a");
    given.has(&a, 1..=1).await;
    let head = given.store().head();
    assert!(given.append(&a, ExpectedVersion::NoStream, 2..=4).await.is_err());
    assert_eq!(given.store().head(), head);
    assert!(given.append(&stream("b"), ExpectedVersion::Exact(Version::from_u64(1)), 5..=6).await.is_err());
    assert_eq!(numbers(&given.log().await), [1]);
    let listed = within(given.store().streams("", None, 10)).await;
    assert_eq!(listed, Ok(vec![a]), "a conflict begins no stream");
}

pub(crate) async fn a_stream_with_events_is_not_no_stream(given: &mut Given) {
    let a = stream("a");
    given.append(&a, ExpectedVersion::NoStream, 1..=2).await.expect("appended");
    let conflict =
        AppendError::Conflict { expected: ExpectedVersion::NoStream, actual: Version::from_u64(2) };
    assert_eq!(given.append(&a, ExpectedVersion::NoStream, 3..=3).await, Err(conflict));
}

pub(crate) async fn a_second_append_of_the_same_ids_gives_the_first_answer(given: &mut Given) {
    let a = stream("a");
    let appends = [
        (ExpectedVersion::NoStream, 1..=2),
        (ExpectedVersion::Exact(Version::from_u64(2)), 3..=5),
        (ExpectedVersion::Any, 6..=8),
    ];
    let mut answers = Vec::new();
    for (expected, numbers) in appends.clone() {
        answers.push(given.append(&a, expected, numbers).await.expect("appended"));
    }
    for _ in 0..2 {
        for ((expected, numbers), answer) in appends.clone().into_iter().zip(&answers) {
            assert_eq!(given.append(&a, expected, numbers).await, Ok(*answer), "{expected:?}");
        }
        given.reopen();
    }
    assert_eq!(given.numbers_of(&a).await, [1, 2, 3, 4, 5, 6, 7, 8]);
}

pub(crate) async fn a_repeat_is_recognised_after_the_stream_grew(given: &mut Given) {
    let a = stream("a");
    let first = given.append(&a, ExpectedVersion::NoStream, 1..=3).await;
    given.has_many(&a, 4..=1_500).await;
    assert_eq!(given.append(&a, ExpectedVersion::NoStream, 1..=3).await, first);
    let shorter =
        given.append(&a, ExpectedVersion::NoStream, 1..=2).await.expect("the ids after 0 are these");
    assert_eq!(shorter.version, Version::from_u64(2));
}

pub(crate) async fn a_repeat_with_other_ids_is_a_conflict(given: &mut Given) {
    let a = stream("a");
    given.append(&a, ExpectedVersion::NoStream, 1..=3).await.expect("appended");
    for numbers in [2..=3, 1..=4, 7..=9] {
        let conflict =
            AppendError::Conflict { expected: ExpectedVersion::NoStream, actual: Version::from_u64(3) };
        assert_eq!(given.append(&a, ExpectedVersion::NoStream, numbers).await, Err(conflict));
    }
}

pub(crate) async fn part_of_an_append_is_not_a_repeat(given: &mut Given) {
    let a = stream("a");
    given.has(&a, 1..=3).await;
    let outer = vec![event(1), event(3)];
    let answer =
        within(given.store().append(a.clone(), ExpectedVersion::Any, outer)).await.expect("appended");
    assert_eq!(answer.version, Version::from_u64(5));
    let more = given.has(&a, 2..=4).await;
    assert_eq!(more.version, Version::from_u64(8));
}

pub(crate) async fn the_same_ids_in_another_stream_are_not_a_repeat(given: &mut Given) {
    let first = given.has(&stream("a"), 1..=2).await;
    let second = given.has(&stream("b"), 1..=2).await;
    assert!(second.position > first.position);
    assert_eq!(given.numbers_of(&stream("b")).await, [1, 2]);
}

pub(crate) async fn two_appends_of_the_same_ids_that_wait_together_are_one(given: &mut Given) {
    for (session, expected) in [("a", ExpectedVersion::Any), ("b", ExpectedVersion::NoStream)] {
        let store = given.store();
        let appends: Vec<_> =
            (0..50).map(|_| store.append(stream(session), expected, events(1..=2))).collect();
        for append in appends {
            let answer = within(append).await.expect("appended");
            assert_eq!(answer.version, Version::from_u64(2));
        }
        assert_eq!(given.numbers_of(&stream(session)).await, [1, 2]);
    }
}

pub(crate) async fn ids_are_recognised_up_to_the_last_ten_thousand(given: &mut Given) {
    let (a, b) = (stream("a"), stream("b"));
    let remembered = REMEMBERED_IDS as u64;
    let first = given.has(&a, 1..=1).await;
    given.has_many(&b, 2..=remembered).await;
    assert_eq!(given.has(&a, 1..=1).await, first, "the oldest of the last {remembered}");
    given.reopen();
    assert_eq!(given.has(&a, 1..=1).await, first, "the oldest of the last {remembered}, read again");
}

pub(crate) async fn an_append_of_nothing_is_refused(given: &mut Given) {
    let refused = within(given.store().append(stream("a"), ExpectedVersion::Any, Vec::new())).await;
    assert!(matches!(refused, Err(AppendError::Size { .. })), "{refused:?}");
}

pub(crate) async fn the_most_events_fit_and_one_more_does_not(given: &mut Given) {
    let most = MAX_APPEND_EVENTS as u64;
    let refused = given.append(&stream("a"), ExpectedVersion::Any, 1..=most + 1).await;
    assert!(matches!(refused, Err(AppendError::Size { .. })), "{refused:?}");
    let answer = given.append(&stream("a"), ExpectedVersion::NoStream, 1..=most).await;
    assert_eq!(answer.as_ref().map(|answer| answer.version.as_u64()), Ok(most));
    assert_eq!(
        given.append(&stream("a"), ExpectedVersion::NoStream, 1..=most).await,
        answer,
        "a repeat of it too"
    );
    assert_eq!(given.log().await.len(), MAX_APPEND_EVENTS);
}

pub(crate) async fn the_most_bytes_fit_and_one_more_does_not(given: &mut Given) {
    let of_bytes = |number, bytes| NewEvent { data: vec![b'x'; bytes].into(), ..event(number) };
    let max_bytes = given.store().max_append_bytes();
    let (half, rest) = (max_bytes / 2, max_bytes - max_bytes / 2);
    let too_much = vec![of_bytes(1, half), of_bytes(2, rest + 1)];
    let most = vec![of_bytes(3, half), of_bytes(4, rest)];
    let refused = within(given.store().append(stream("a"), ExpectedVersion::Any, too_much)).await;
    assert!(matches!(refused, Err(AppendError::Size { .. })), "{refused:?}");
    within(given.store().append(stream("a"), ExpectedVersion::Any, most.clone())).await.expect("appended");
    let read = given.read(&stream("a"), 1, ReadDirection::Forward, 10).await;
    assert!(read.iter().map(|recorded| &recorded.event).eq(&most), "and reads back");
}

pub(crate) async fn everything_of_an_event_is_kept(given: &mut Given) {
    let odd = NewEvent {
        kind: "a type.of\0another release".into(),
        schema: u16::MAX,
        time: Timestamp::from_millis(-1),
        causation: "\0".into(),
        actor: "ключ \0\u{1f511}".into(),
        data: vec![0, 0xff, b'"', 0].into(),
        ..event(u64::MAX)
    };
    let empty = NewEvent { data: Vec::new().into(), ..event(0) };
    let appended = vec![odd, empty];
    within(given.store().append(stream("ä %3A"), ExpectedVersion::Any, appended.clone()))
        .await
        .expect("appended");
    given.reopen();
    let log = given.log().await;
    assert!(log.iter().map(|recorded| &recorded.event).eq(&appended));
    assert!(log.iter().all(|recorded| recorded.stream == stream("ä %3A")));
}
