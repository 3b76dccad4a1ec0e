//! Appends that go to the database in one call, and what becomes of each.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use tokio::sync::oneshot;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    NewEvent, Position, RecordedEvent, StreamName, Version,
    postgres::Parameter,
    store::{
        AppendError, AppendReceipt, ExpectedVersion,
        postgres::{
            history::known_end::EndValues,
            reading::event_rows::number,
            writing::log_change::{DecidedAppend, DecidedGroup},
        },
    },
};

/// How many events go in one call, unless a single append has more.
const GROUP_EVENTS: usize = 2_000;

/// How many bytes of data go in one call, unless a single append has more.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What the function takes for [`ExpectedVersion::Any`].
const ANY: i64 = -1;

/// An append that waits.
pub(in crate::store::postgres) struct WaitingAppend {
    pub(in crate::store::postgres) stream: StreamName,
    pub(in crate::store::postgres) expected: ExpectedVersion,
    pub(in crate::store::postgres) events: Vec<NewEvent>,
    /// Until when it is tried.
    pub(in crate::store::postgres) deadline: Instant,
    pub(in crate::store::postgres) reply: oneshot::Sender<Result<AppendReceipt, AppendError>>,
}

/// Appends that go together, in order.
#[derive(Default)]
pub(in crate::store::postgres) struct AppendGroup {
    appends: Vec<WaitingAppend>,
    events: usize,
    bytes: usize,
}

/// What the database says of an append.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::postgres) enum AppendOutcome {
    Conflict { actual: Version },
    Appended(AppendReceipt),
    Repeated(AppendReceipt),
}

impl AppendGroup {
    /// Whether anything more may be added.
    pub(in crate::store::postgres) fn has_room(&self) -> bool {
        self.events < GROUP_EVENTS && self.bytes < GROUP_BYTES
    }

    pub(in crate::store::postgres) fn push(&mut self, append: WaitingAppend) {
        self.events += append.events.len();
        self.bytes += append.events.iter().map(|event| event.data.len()).sum::<usize>();
        self.appends.push(append);
    }

    pub(in crate::store::postgres) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    pub(in crate::store::postgres) fn len(&self) -> usize {
        self.appends.len()
    }

    /// Each append as a group of its own.
    pub(in crate::store::postgres) fn split(self) -> impl Iterator<Item = Self> {
        self.appends.into_iter().map(|append| {
            let mut alone = Self::default();
            alone.push(append);
            alone
        })
    }

    /// Takes out what is not worth trying any more.
    pub(in crate::store::postgres) fn take_expired(&mut self, now: Instant) -> Self {
        let (mut kept, mut expired) = (Self::default(), Self::default());
        for append in std::mem::take(&mut self.appends) {
            if append.deadline <= now { expired.push(append) } else { kept.push(append) }
        }
        *self = kept;
        expired
    }

    /// The same answer for all.
    pub(in crate::store::postgres) fn fail(self, error: &AppendError) -> DecidedGroup {
        let appends = self.appends.into_iter();
        let appends = appends.map(|append| DecidedAppend { answer: Err(error.clone()), reply: append.reply });
        DecidedGroup { appends: appends.collect(), events: Arc::new([]) }
    }

    /// The answers, from one outcome for each append.
    pub(in crate::store::postgres) fn decide(self, outcomes: &[AppendOutcome]) -> DecidedGroup {
        let mut events = Vec::with_capacity(self.events);
        let mut appends = Vec::with_capacity(self.appends.len());
        for (append, outcome) in self.appends.into_iter().zip(outcomes) {
            let answer = match *outcome {
                AppendOutcome::Conflict { actual } => {
                    Err(AppendError::Conflict { expected: append.expected, actual })
                }
                AppendOutcome::Repeated(receipt) => Ok(receipt),
                AppendOutcome::Appended(receipt) => {
                    record(&mut events, append.stream, append.events, receipt);
                    Ok(receipt)
                }
            };
            appends.push(DecidedAppend { answer, reply: append.reply });
        }
        DecidedGroup { appends, events: events.into() }
    }

    /// The values of the call.
    pub(in crate::store::postgres) fn values(&self) -> GroupValues<'_> {
        let mut values = GroupValues::default();
        let mut streams = HashMap::new();
        let mut seen = HashSet::new();
        for append in &self.appends {
            let stream = *streams.entry(append.stream.as_str()).or_insert_with(|| {
                values.streams.push(append.stream.as_str());
                small(values.streams.len())
            });
            let expected = expected(append.expected);
            let first = append.events.first().map(|event| event.id.as_uuid()).unwrap_or_default();
            let is_again = seen.contains(&first);
            if expected == ANY && !is_again {
                values.any_firsts.push(first);
            }
            values.append_stream.push(stream);
            values.append_expected.push(expected);
            values.append_count.push(small(append.events.len()));
            values.append_again.push(is_again);
            seen.extend(append.events.iter().map(|event| event.id.as_uuid()));
            append.events.iter().for_each(|event| values.push(event));
        }
        values
    }
}

/// The events of an append, from the place of the last of them.
fn record(recorded: &mut Vec<RecordedEvent>, stream: StreamName, events: Vec<NewEvent>, last: AppendReceipt) {
    let before = events.len() as u64;
    let (position, version) = (last.position.as_u64() - before, last.version.as_u64() - before);
    recorded.extend((1..).zip(events).map(|(number, event)| RecordedEvent {
        position: Position::from_u64(position + number),
        stream: stream.clone(),
        version: Version::from_u64(version + number),
        event,
    }));
}

/// What is expected, as the function takes it.
fn expected(expected: ExpectedVersion) -> i64 {
    match expected {
        ExpectedVersion::Any => ANY,
        ExpectedVersion::NoStream => 0,
        ExpectedVersion::Exact(version) => number(version.as_u64()),
    }
}

/// A number within the limits of a group.
fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl AppendOutcome {
    /// Reads the one row of the procedure: an outcome for each append.
    pub(in crate::store::postgres) fn decode(row: &Row) -> Result<Vec<Self>, tokio_postgres::Error> {
        let (outcomes, versions, positions): (Vec<i32>, Vec<i64>, Vec<i64>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let places = versions.into_iter().zip(positions);
        Ok(outcomes.into_iter().zip(places).map(|(outcome, place)| Self::new(outcome, place)).collect())
    }

    fn new(outcome: i32, (version, position): (i64, i64)) -> Self {
        let version = Version::from_u64(version.cast_unsigned());
        let receipt = AppendReceipt { version, position: Position::from_u64(position.cast_unsigned()) };
        match outcome {
            0 => Self::Conflict { actual: version },
            1 => Self::Appended(receipt),
            _ => Self::Repeated(receipt),
        }
    }
}

/// The values of a call of `append`, as the function describes them.
#[derive(Default)]
pub(in crate::store::postgres) struct GroupValues<'a> {
    streams: Vec<&'a str>,
    any_firsts: Vec<Uuid>,
    append_stream: Vec<i32>,
    append_expected: Vec<i64>,
    append_count: Vec<i32>,
    append_again: Vec<bool>,
    ids: Vec<Uuid>,
    types: Vec<&'a [u8]>,
    schemas: Vec<i32>,
    times: Vec<i64>,
    causations: Vec<&'a [u8]>,
    actors: Vec<&'a [u8]>,
    datas: Vec<&'a [u8]>,
}

impl<'a> GroupValues<'a> {
    /// The call, as [`GroupValues::parameters`] fills it in.
    pub(in crate::store::postgres) const CALL: &'static str = "CALL {schema}.append(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, NULL, NULL, NULL)";

    fn push(&mut self, event: &'a NewEvent) {
        self.ids.push(event.id.as_uuid());
        self.types.push(event.kind.as_bytes());
        self.schemas.push(event.schema.into());
        self.times.push(event.time.as_millis());
        self.causations.push(event.causation.as_bytes());
        self.actors.push(event.actor.as_bytes());
        self.datas.push(&event.data);
    }

    pub(in crate::store::postgres) fn parameters<'b>(
        &'b self,
        may_be_lost: &'b bool,
        end: &'b EndValues,
    ) -> [Parameter<'b>; 17] {
        let (epoch, position, id) = end;
        [
            may_be_lost,
            epoch,
            position,
            id,
            &self.streams,
            &self.any_firsts,
            &self.append_stream,
            &self.append_expected,
            &self.append_count,
            &self.append_again,
            &self.ids,
            &self.types,
            &self.schemas,
            &self.times,
            &self.causations,
            &self.actors,
            &self.datas,
        ]
    }
}
