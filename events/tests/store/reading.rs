//! Contract: reading streams, the log, and the list of streams.

use std::ops::Bound;

use amoiq_events::{
    EventLog, Position, RecordedEvent, StreamName, Version,
    store::{LogReader, MAX_READ_EVENTS, ReadDirection, ReadError},
};

use crate::given::{Given, numbers, stream, versions, within};

/// Long enough for several of the marks that the embedded store sets at every 64th version.
const LENGTH: u64 = 200;

pub(crate) async fn a_stream_reads_forward_from_every_version(given: &mut Given) {
    let a = stream("a");
    interleave(given, &a, LENGTH).await;
    for _ in 0..2 {
        for from in (0..=LENGTH + 2).chain([u64::MAX]) {
            for limit in [0, 1, 63, 64, 65, 1_000] {
                let read = versions(&given.read(&a, from, ReadDirection::Forward, limit).await);
                let wanted: Vec<u64> = (1..=LENGTH).filter(|version| *version >= from).take(limit).collect();
                assert_eq!(read, wanted, "{limit} from {from}");
            }
        }
        given.reopen();
    }
}

pub(crate) async fn a_stream_reads_backward_from_every_version(given: &mut Given) {
    let a = stream("a");
    interleave(given, &a, LENGTH).await;
    for _ in 0..2 {
        for from in (0..=LENGTH + 2).chain([u64::MAX]) {
            for limit in [0, 1, 63, 64, 65, 1_000] {
                let read = versions(&given.read(&a, from, ReadDirection::Backward, limit).await);
                let versions = (1..=LENGTH).rev().filter(|version| *version <= from);
                assert_eq!(read, versions.take(limit).collect::<Vec<_>>(), "{limit} from {from}");
            }
        }
        given.reopen();
    }
}

pub(crate) async fn a_long_stream_reads_in_pages_both_ways(given: &mut Given) {
    let (a, length) = (stream("a"), 5_000);
    given.has_many(&a, 1..=length).await;
    given.has_many(&stream("b"), length + 1..=length + 1_000).await;
    for page in [100, 500, 1_000] {
        let mut forward = Vec::new();
        while let read = given.read(&a, forward.len() as u64 + 1, ReadDirection::Forward, page).await
            && !read.is_empty()
        {
            forward.extend(versions(&read));
        }
        assert_eq!(forward, (1..=length).collect::<Vec<_>>());
        let mut backward = Vec::new();
        while let read = given.read(&a, length - backward.len() as u64, ReadDirection::Backward, page).await
            && !read.is_empty()
        {
            backward.extend(versions(&read));
        }
        assert_eq!(backward, (1..=length).rev().collect::<Vec<_>>());
    }
}

pub(crate) async fn a_read_gives_no_more_than_its_limit(given: &mut Given) {
    let a = stream("a");
    given.has_many(&a, 1..=1_100).await;
    for (asked, given_out) in [(0, 0), (1, 1), (1_000, 1_000), (1_001, MAX_READ_EVENTS), (usize::MAX, 1_000)]
    {
        assert_eq!(given.read(&a, 1, ReadDirection::Forward, asked).await.len(), given_out);
        assert_eq!(given.read(&a, 1_100, ReadDirection::Backward, asked).await.len(), given_out);
        let all = within(given.store().read_all(Position::START, asked)).await.expect("read");
        assert_eq!(all.len(), given_out);
    }
}

pub(crate) async fn a_stream_that_is_not_there_is_empty(given: &mut Given) {
    given.has(&stream("ab"), 1..=3).await;
    for direction in [ReadDirection::Forward, ReadDirection::Backward] {
        assert!(given.read(&stream("a"), 1, direction, 10).await.is_empty());
    }
}

pub(crate) async fn the_log_reads_in_pages_after_any_position(given: &mut Given) {
    interleave(given, &stream("a"), 30).await;
    let log = given.log().await;
    for limit in [1, 7, 1_000] {
        for after in std::iter::once(Position::START).chain(log.iter().map(|event| event.position)) {
            let read = within(given.store().read_all(after, limit)).await.expect("read");
            let wanted = log.iter().filter(|event| event.position > after).take(limit);
            assert!(read.iter().eq(wanted), "{limit} after {after}");
        }
    }
}

pub(crate) async fn after_the_end_of_the_log_is_nothing_or_no_position(given: &mut Given) {
    let last = given.has(&stream("a"), 1..=3).await.position.as_u64();
    let numbers = [u64::MAX, u64::MAX - 1, i64::MAX.cast_unsigned(), i64::MAX.cast_unsigned() + 1, last + 1];
    for position in numbers.map(Position::from_u64) {
        match within(given.store().read_all(position, 10)).await {
            Ok(events) => assert_eq!(events, []),
            Err(error) => assert_eq!(error, ReadError::UnknownPosition(position)),
        }
        match within(given.store().event_at(position)).await {
            Ok(event) => assert_eq!(event, None),
            Err(error) => assert_eq!(error, ReadError::UnknownPosition(position)),
        }
        assert_eq!(given.store().events_after(position), 0);
    }
}

pub(crate) async fn an_event_is_found_by_its_position_until_it_is_removed(given: &mut Given) {
    interleave(given, &stream("a"), 30).await;
    for event in given.log().await {
        let found = within(given.store().event_at(event.position)).await;
        assert_eq!(found, Ok(Some(event)));
    }
    let removed = given.log().await;
    given.delete(&stream("a")).await;
    for event in removed {
        let found = within(given.store().event_at(event.position)).await.expect("read");
        assert_eq!(found.is_none(), event.stream == stream("a"));
    }
}

pub(crate) async fn how_far_a_reader_is_behind_is_counted_in_events(given: &mut Given) {
    interleave(given, &stream("a"), 20).await;
    let log = given.log().await;
    assert_eq!(given.store().events_after(Position::START), log.len() as u64);
    for (number, event) in (1..).zip(&log) {
        assert_eq!(given.store().events_after(event.position), (log.len() - number) as u64);
    }
}

pub(crate) async fn a_number_that_a_person_names_becomes_a_position_of_the_log(given: &mut Given) {
    given.has(&stream("a"), 1..=5).await;
    let positions: Vec<Position> = given.log().await.iter().map(|event| event.position).collect();
    let newest = async |bound| within(given.store().newest_within(bound)).await.expect("read");
    for (number, position) in positions.iter().enumerate() {
        let before = number.checked_sub(1).map_or(Position::START, |before| positions[before]);
        assert_eq!(newest(Bound::Included(*position)).await, *position);
        assert_eq!(newest(Bound::Excluded(*position)).await, before);
    }
    for bound in [Bound::Included(Position::END), Bound::Excluded(Position::END), Bound::Unbounded] {
        assert_eq!(newest(bound).await, given.store().head());
    }
    assert_eq!(newest(Bound::Included(Position::START)).await, Position::START);
    assert_eq!(newest(Bound::Excluded(Position::START)).await, Position::START);
}

pub(crate) async fn a_reader_gives_pages_until_the_end(given: &mut Given) {
    interleave(given, &stream("a"), 30).await;
    let (store, log) = (given.store(), given.log().await);
    for (reader, wanted) in readings(&*store, &log) {
        let mut reader = reader.with_page_events(7);
        let mut read = Vec::new();
        while let Some(page) = within(reader.next_page()).await.expect("read") {
            assert!((1..=7).contains(&page.len()));
            read.extend(page);
        }
        assert_eq!(read, wanted);
        assert_eq!(within(reader.next_page()).await, Ok(None), "the end stays the end");
    }
}

pub(crate) async fn a_reader_gives_events_until_the_end(given: &mut Given) {
    interleave(given, &stream("a"), 30).await;
    let (store, log) = (given.store(), given.log().await);
    for (reader, wanted) in readings(&*store, &log) {
        let mut reader = reader.with_page_events(7);
        let mut read = Vec::new();
        while let Some(event) = within(reader.next_event()).await.expect("read") {
            read.push(event);
        }
        assert_eq!(read, wanted);
    }
    for (reader, wanted) in readings(&*store, &log) {
        let mut reader = reader.with_page_events(7);
        let first = within(reader.next_event()).await.expect("read");
        let mut read = Vec::from_iter(first);
        while let Some(page) = within(reader.next_page()).await.expect("read") {
            read.extend(page);
        }
        assert_eq!(read, wanted, "pages go on after an event");
    }
}

pub(crate) async fn a_reader_goes_on_with_what_is_appended(given: &mut Given) {
    let store = given.store();
    given.has(&stream("a"), 1..=2).await;
    let mut all = LogReader::all(&*store, Position::START);
    let mut of_stream = LogReader::stream(&*store, stream("a"), Version::FIRST);
    for reader in [&mut all, &mut of_stream] {
        assert_eq!(
            within(reader.next_page()).await.expect("read").map(|page| numbers(&page)),
            Some(vec![1, 2])
        );
        assert_eq!(within(reader.next_page()).await, Ok(None));
    }
    given.has(&stream("a"), 3..=3).await;
    for reader in [&mut all, &mut of_stream] {
        assert_eq!(within(reader.next_page()).await.expect("read").map(|page| numbers(&page)), Some(vec![3]));
    }
}

pub(crate) async fn a_reader_of_pairs_gives_what_is_left_of_the_log_in_order(given: &mut Given) {
    interleave(given, &stream("a"), 60).await;
    // Positions without an event: a few, and as many as one page of a pair has.
    given.truncate(&stream("one"), 5).await;
    given.has_many(&stream("gone"), 501..=509).await;
    given.delete(&stream("gone")).await;
    interleave(given, &stream("b"), 20).await;
    let (store, log) = (given.store(), given.log().await);
    let middle = log[log.len() / 2].position;
    for (after, upto) in
        [(Position::START, Position::END), (Position::START, middle), (middle, Position::END)]
    {
        let mut reader = LogReader::all(&*store, after).up_to(upto).with_page_events(7).in_pairs();
        let mut read = Vec::new();
        while let Some(page) = within(reader.next_page()).await.expect("read") {
            read.extend(page);
        }
        let wanted = log.iter().filter(|event| event.position > after && event.position <= upto);
        assert_eq!(read, wanted.cloned().collect::<Vec<_>>());
    }
    let mut reader = LogReader::all(&*store, log[log.len() - 1].position).with_page_events(7).in_pairs();
    for number in 0..30 {
        assert_eq!(within(reader.next_page()).await, Ok(None));
        let number = 1_000 + number;
        given.has(&stream("a"), number..=number).await;
        let page = within(reader.next_page()).await.expect("read");
        assert_eq!(page.map(|page| numbers(&page)), Some(vec![number]));
    }
}

/// Readers of each kind, and what each must give.
fn readings<'a>(log: &'a dyn EventLog, events: &[RecordedEvent]) -> Vec<(LogReader<'a>, Vec<RecordedEvent>)> {
    let of_stream: Vec<_> = events.iter().filter(|event| event.stream == stream("a")).cloned().collect();
    let newest_first: Vec<_> = of_stream.iter().rev().cloned().collect();
    let (middle, head) = (events[events.len() / 2].position, log.head());
    let up_to = |events: &[RecordedEvent], end: Position| -> Vec<RecordedEvent> {
        events.iter().filter(|event| event.position <= end).cloned().collect()
    };
    let all = || LogReader::all(log, Position::START);
    let forward = |from| LogReader::stream(log, stream("a"), Version::from_u64(from));
    let backward = || LogReader::stream_backward(log, stream("a"));
    vec![
        (all(), events.to_vec()),
        (all().up_to(head), events.to_vec()),
        (all().up_to(middle), up_to(events, middle)),
        (all().up_to(Position::START), Vec::new()),
        (LogReader::all(log, middle).up_to(middle), Vec::new()),
        (forward(4), of_stream[3..].to_vec()),
        (forward(1).up_to(middle), up_to(&of_stream, middle)),
        (forward(1).up_to(Position::START), Vec::new()),
        (backward(), newest_first.clone()),
        (backward().up_to(middle), up_to(&newest_first, middle)),
        (backward().up_to(Position::START), Vec::new()),
        (LogReader::stream_backward(log, stream("none")), Vec::new()),
    ]
}

pub(crate) async fn the_head_is_the_newest_position(given: &mut Given) {
    assert_eq!(given.store().head(), Position::START);
    let mut head = Position::START;
    for number in 1..=20 {
        let position = given.has(&stream("a"), number..=number).await.position;
        assert!(position > head, "positions rise");
        assert_eq!(given.store().head(), position);
        head = position;
    }
    given.reopen();
    assert_eq!(given.store().head(), head);
}

pub(crate) async fn streams_are_listed_by_prefix_in_order_and_in_pages(given: &mut Given) {
    let names: Vec<StreamName> = (0..25).map(|number| stream(&format!("s{number:02}"))).collect();
    for (number, name) in (1..).zip(names.iter().rev()) {
        given.has(name, number..=number).await;
    }
    given.has(&StreamName::node("n1"), 100..=100).await;
    given.reopen();
    given.has(&stream("t"), 101..=101).await;
    given.has(&StreamName::node("n2"), 102..=102).await;

    let mut listed = Vec::new();
    while let page = list(given, "session:acme:s", listed.last(), 10).await
        && !page.is_empty()
    {
        assert!(page.len() <= 10);
        listed.extend(page);
    }
    assert_eq!(listed, names);
    let nodes = [StreamName::node("n1"), StreamName::node("n2")];
    assert_eq!(list(given, "node:", None, 10).await, nodes);
    assert_eq!(list(given, "session:acme:t", Some(&StreamName::node("n1")), 1).await, [stream("t")]);
    assert_eq!(list(given, "session:acme:s1", Some(&StreamName::node("n1")), 1).await, [stream("s10")]);
    assert!(list(given, "node:", Some(&stream("t")), 10).await.is_empty());
    assert!(list(given, "tenant:", None, 10).await.is_empty());
    assert_eq!(list(given, "", None, 100).await.len(), 28);
    assert!(list(given, "", None, 0).await.is_empty());
}

async fn list(given: &Given, prefix: &str, after: Option<&StreamName>, limit: usize) -> Vec<StreamName> {
    within(given.store().streams(prefix, after.cloned(), limit)).await.expect("listed")
}

/// A stream of this length whose events are between those of others.
async fn interleave(given: &Given, stream: &StreamName, length: u64) {
    let (one, two) = (crate::given::stream("one"), crate::given::stream("two"));
    for number in 1..=length {
        given.has(stream, number..=number).await;
        if number.is_multiple_of(3) {
            given.has(&one, 10_000 + number..=10_000 + number).await;
        }
        if number.is_multiple_of(7) {
            given.has(&two, 20_000 + 2 * number..=20_001 + 2 * number).await;
        }
    }
    assert_eq!(numbers(&given.read(stream, 1, ReadDirection::Forward, 3).await), [1, 2, 3]);
}
