//! Random histories: whatever is done in whatever order, a store behaves like a model of a few lines.
//!
//! Positions are the store's own choice, so the model takes them over after checking that they rise.

use std::collections::{BTreeMap, BTreeSet};

use amoiq_events::{
    Position, RecordedEvent, StreamName, Version,
    store::{AppendError, AppendReceipt, ExpectedVersion, LogSubscription, MAX_READ_EVENTS, ReadDirection},
};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::given::{Given, stream, take, within};

/// Few streams, so that histories overlap.
const STREAMS: usize = 3;

/// One step of a history. What it names is taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Append { stream: usize, expect: Expect, count: u64 },
    AppendAgain { which: Index },
    Read { stream: usize, from: u64, direction: ReadDirection, limit: usize },
    ReadAll { after: Index, limit: usize },
    Streams { after: Option<usize>, limit: usize },
    Truncate { stream: usize, before: u64 },
    Delete { stream: usize },
    Subscribe { after: Index },
    Poll,
    Reopen,
    Crash,
}

/// How an append's expected version relates to the actual one.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Any,
    NoStream,
    Right,
    Off(i8),
}

/// An earlier append, for repeating it.
#[derive(Debug, Clone)]
struct Made {
    stream: usize,
    expected: ExpectedVersion,
    first: u64,
    last: u64,
}

/// The model of a store: a log, and the version of each stream.
#[derive(Default)]
struct Model {
    /// The stream, version and number of each event.
    log: BTreeMap<Position, (usize, u64, u64)>,
    versions: BTreeMap<usize, u64>,
    head: Position,
    made: Vec<Made>,
    next_number: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let streams = 0..STREAMS;
    let expect = prop_oneof![
        3 => Just(Expect::Any),
        1 => Just(Expect::NoStream),
        3 => Just(Expect::Right),
        1 => (-3_i8..=3).prop_map(Expect::Off),
    ];
    let count = prop_oneof![3 => 1_u64..=3, 1 => 50_u64..=140];
    let direction = prop_oneof![Just(ReadDirection::Forward), Just(ReadDirection::Backward)];
    let limit = prop_oneof![3 => 0_usize..10, 1 => 60_usize..200];
    prop_oneof![
        6 => (streams.clone(), expect, count)
            .prop_map(|(stream, expect, count)| Step::Append { stream, expect, count }),
        2 => any::<Index>().prop_map(|which| Step::AppendAgain { which }),
        4 => (streams.clone(), 0_u64..400, direction, limit.clone())
            .prop_map(|(stream, from, direction, limit)| Step::Read { stream, from, direction, limit }),
        2 => (any::<Index>(), limit).prop_map(|(after, limit)| Step::ReadAll { after, limit }),
        1 => (proptest::option::of(streams.clone()), 0_usize..5)
            .prop_map(|(after, limit)| Step::Streams { after, limit }),
        2 => (streams.clone(), 0_u64..300).prop_map(|(stream, before)| Step::Truncate { stream, before }),
        1 => streams.prop_map(|stream| Step::Delete { stream }),
        1 => any::<Index>().prop_map(|after| Step::Subscribe { after }),
        3 => Just(Step::Poll),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn the_store_in_memory_behaves_like_the_model(steps in vec(step(), 1..60)) {
        run(Given::memory(), steps);
    }

    #[test]
    fn the_embedded_store_behaves_like_the_model(steps in vec(step(), 1..60)) {
        run(Given::sqlite(), steps);
    }
}

proptest! {
    // Each makes a schema, and commits each step.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_store_in_postgres_answers_as_the_model(steps in vec(step(), 1..60)) {
        run(Given::postgres(), steps);
    }
}

#[cfg(feature = "kurrentdb")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_store_in_kurrentdb_answers_as_the_model(steps in vec(step(), 1..60)) {
        run(Given::kurrentdb(), steps);
    }
}

fn run(mut given: Given, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut model = Model::default();
        let mut subscription = given.store().subscribe(Position::START);
        for step in steps {
            take_step(step, &mut given, &mut model, &mut subscription).await;
        }
        assert_eq!(given.store().head(), model.head);
        given.assert_whole().await;
    });
}

async fn take_step(step: Step, given: &mut Given, model: &mut Model, subscription: &mut LogSubscription) {
    match step {
        Step::Append { stream, expect, count } => {
            let expected = model.expected(stream, expect);
            let first = model.next_number + 1;
            model.next_number += count;
            let made = Made { stream, expected, first, last: model.next_number };
            model.made.push(made.clone());
            append(given, model, &made).await;
        }
        Step::AppendAgain { which } if !model.made.is_empty() => {
            let made = which.get(&model.made).clone();
            append(given, model, &made).await;
        }
        Step::AppendAgain { .. } => {}
        Step::Read { stream, from, direction, limit } => {
            let read = given.read(&name(stream), from, direction, limit).await;
            assert_eq!(seen(&read), model.stream(stream, from, direction, limit));
        }
        Step::ReadAll { after, limit } => {
            let after = model.somewhere(&after);
            let read = within(given.store().read_all(after, limit)).await.expect("read");
            assert_eq!(seen(&read), model.after(after, limit));
        }
        Step::Streams { after, limit } => {
            let listed = within(given.store().streams("session:", after.map(name), limit)).await;
            assert_eq!(listed, Ok(model.streams(after, limit)));
        }
        Step::Truncate { stream, before } => {
            given.truncate(&name(stream), before).await;
            model.log.retain(|_, (known, version, _)| *known != stream || *version >= before);
        }
        Step::Delete { stream } => {
            given.delete(&name(stream)).await;
            model.log.retain(|_, (known, ..)| *known != stream);
            model.versions.remove(&stream);
        }
        Step::Subscribe { after } => *subscription = given.store().subscribe(model.somewhere(&after)),
        Step::Poll => poll(model, subscription).await,
        Step::Reopen => begin_again(given, model, subscription, Given::reopen),
        Step::Crash => begin_again(given, model, subscription, Given::crash),
    }
}

fn begin_again(
    given: &mut Given,
    model: &Model,
    subscription: &mut LogSubscription,
    again: impl FnOnce(&mut Given),
) {
    let after = subscription.position();
    again(given);
    *subscription = given.store().subscribe(after);
    assert_eq!(given.store().head(), model.head);
}

async fn append(given: &Given, model: &mut Model, made: &Made) {
    let answer = given.append(&name(made.stream), made.expected, made.first..=made.last).await;
    match model.answer(made) {
        Some(known) => assert_eq!(answer, known),
        None => {
            let head = model.head;
            let added = within(given.store().read_all(head, MAX_READ_EVENTS)).await.expect("read");
            model.add(made, answer.expect("appended"), &added);
            assert_eq!(seen(&added), model.after(head, usize::MAX), "what was appended");
        }
    }
}

/// Takes the next batch, when there is anything to wait for.
async fn poll(model: &Model, subscription: &mut LogSubscription) {
    let after = subscription.position();
    if model.log.range(after..).any(|(position, _)| *position > after) {
        let batch = take(subscription, 1).await;
        assert_eq!(seen(&batch), model.after(after, batch.len()));
    }
}

impl Model {
    fn expected(&self, stream: usize, expect: Expect) -> ExpectedVersion {
        let version = self.versions.get(&stream).copied().unwrap_or_default();
        match expect {
            Expect::Any => ExpectedVersion::Any,
            Expect::NoStream => ExpectedVersion::NoStream,
            Expect::Right => ExpectedVersion::Exact(Version::from_u64(version)),
            Expect::Off(by) => {
                ExpectedVersion::Exact(Version::from_u64(version.saturating_add_signed(by.into())))
            }
        }
    }

    /// The answer to an append that adds nothing; `None` when it has to add its events.
    fn answer(&self, made: &Made) -> Option<Result<AppendReceipt, AppendError>> {
        let actual = self.versions.get(&made.stream).copied().unwrap_or_default();
        let found = |number: u64| {
            let mut newest = self.log.iter().rev();
            newest.find(|(_, event)| event.0 == made.stream && event.2 == number)
        };
        let at = |version: u64| {
            let mut events = self.log.iter();
            events.find(|(_, event)| event.0 == made.stream && event.1 == version)
        };
        let (before, fits) = match made.expected {
            ExpectedVersion::Any => (found(made.first).map(|(_, event)| event.1 - 1), true),
            ExpectedVersion::NoStream => (Some(0), actual == 0),
            ExpectedVersion::Exact(version) => (Some(version.as_u64()), actual == version.as_u64()),
        };
        let repeated = before.and_then(|before| {
            let mut last = None;
            for (number, version) in (made.first..=made.last).zip(before + 1..) {
                let (position, _) = at(version).filter(|(_, event)| event.2 == number)?;
                last = Some(AppendReceipt { version: Version::from_u64(version), position: *position });
            }
            last
        });
        let conflict = AppendError::Conflict { expected: made.expected, actual: Version::from_u64(actual) };
        repeated.map(Ok).or_else(|| (!fits).then_some(Err(conflict)))
    }

    /// Adds the events of an append, at the places that the store gave them.
    fn add(&mut self, made: &Made, answer: AppendReceipt, added: &[RecordedEvent]) {
        let version = self.versions.entry(made.stream).or_default();
        for (event, number) in added.iter().zip(made.first..=made.last) {
            assert!(event.position > self.head, "positions rise");
            self.head = event.position;
            *version += 1;
            self.log.insert(event.position, (made.stream, *version, number));
        }
        assert_eq!(answer, AppendReceipt { version: Version::from_u64(*version), position: self.head });
    }

    fn stream(&self, stream: usize, from: u64, direction: ReadDirection, limit: usize) -> Vec<Seen> {
        let of_stream = self.log.values().filter(|event| event.0 == stream).map(told);
        match direction {
            ReadDirection::Forward => of_stream.filter(|event| event.1 >= from).take(limit).collect(),
            ReadDirection::Backward => of_stream.rev().filter(|event| event.1 <= from).take(limit).collect(),
        }
    }

    fn after(&self, after: Position, limit: usize) -> Vec<Seen> {
        let behind = self.log.range(after..).filter(|(position, _)| **position > after);
        behind.map(|(_, event)| told(event)).take(limit.min(MAX_READ_EVENTS)).collect()
    }

    fn streams(&self, after: Option<usize>, limit: usize) -> Vec<StreamName> {
        let names: BTreeSet<StreamName> = self.versions.keys().copied().map(name).collect();
        let after = after.map(name);
        names.into_iter().filter(|name| after.as_ref().is_none_or(|after| name > after)).take(limit).collect()
    }

    /// The start, or where an event is.
    fn somewhere(&self, which: &Index) -> Position {
        let places: Vec<Position> =
            std::iter::once(Position::START).chain(self.log.keys().copied()).collect();
        *which.get(&places)
    }
}

/// What a test compares: the stream, the version, the number.
type Seen = (StreamName, u64, u64);

fn told(event: &(usize, u64, u64)) -> Seen {
    (name(event.0), event.1, event.2)
}

fn seen(events: &[RecordedEvent]) -> Vec<Seen> {
    let numbers = crate::given::numbers(events);
    events
        .iter()
        .zip(numbers)
        .map(|(event, number)| (event.stream.clone(), event.version.as_u64(), number))
        .collect()
}

fn name(stream_number: usize) -> StreamName {
    stream(&format!("{stream_number}"))
}
