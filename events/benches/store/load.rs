//! The load: many appenders, each waiting for its answer before it appends again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use amoiq_events::{
    Ambient, EventId, EventLog, NewEvent, SessionId, StreamName, TenantId, Timestamp, Version,
    store::{ExpectedVersion, sqlite::SqliteStore},
};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// How many streams an appender goes round.
const STREAMS_EACH: usize = 16;

/// The data of an event: with ids, stream, type and numbers it makes a row of about 350 bytes.
const DATA: &str = r#"{"messageId":"msg-0190163d-8694-739b-aea5-966c26f8ad91","role":"visitor","seq":128,"text":"Hello, I ordered the blue one last week and it has not come yet. Can you see where it is?","clientMessageId":"c-7f3a9c52"}"#;

/// What a run of appenders did.
pub(crate) struct Run {
    pub(crate) events: u64,
    pub(crate) commits: u64,
    pub(crate) time: Duration,
    /// How long each append took, in microseconds, in no order.
    pub(crate) latencies_us: Vec<u32>,
}

/// How a run ends: after so long or so many events, whichever is first.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    pub(crate) time: Duration,
    pub(crate) events: u64,
}

/// Opens the store that is measured.
pub(crate) fn open(directory: &std::path::Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(directory, &Ambient::system()).expect("the store opens"))
}

/// Lets this many appenders append one event at a time. `name` keeps the streams of two runs apart.
pub(crate) fn run<S: EventLog>(
    runtime: &Runtime,
    store: &Arc<S>,
    name: &str,
    appenders: u32,
    until: Until,
) -> Run {
    let begun = Instant::now();
    let left = Arc::new(AtomicU64::new(until.events));
    let mut commits = store.subscribe(store.head());
    let tasks: Vec<_> = (0..appenders)
        .map(|appender| {
            let name = format!("{name}-{appender}");
            runtime.spawn(append(Arc::clone(store), name, Arc::clone(&left), begun + until.time))
        })
        .collect();
    // Each batch that a subscriber gets is one commit.
    let (finish, finished) = tokio::sync::oneshot::channel();
    let counter = runtime.spawn(async move {
        let mut finished = finished;
        let mut count = 0;
        loop {
            tokio::select! {
                biased;
                batch = commits.next() => count += u64::from(batch.is_ok()),
                _ = &mut finished => return count,
            }
        }
    });
    let mut latencies_us = Vec::new();
    for task in tasks {
        latencies_us.extend(runtime.block_on(task).expect("an appender ends well"));
    }
    let time = begun.elapsed();
    finish.send(()).expect("the counter waits for it");
    let commits = runtime.block_on(counter).expect("the counter ends well");
    Run { events: latencies_us.len() as u64, commits, time, latencies_us }
}

/// Grows the log by many events fast, in appends of a thousand.
pub(crate) fn grow(runtime: &Runtime, store: &Arc<SqliteStore>, name: &str, events: u64) {
    let mut waiting = std::collections::VecDeque::new();
    for thousand in 0..events / 1_000 {
        let stream = stream(&format!("{name}-{}", thousand % 1_000));
        let batch = (0..1_000).map(|number| event(&EventIds::of(name), thousand * 1_000 + number)).collect();
        waiting.push_back(store.append(stream, ExpectedVersion::Any, batch));
        if waiting.len() > 8
            && let Some(oldest) = waiting.pop_front()
        {
            runtime.block_on(oldest).expect("appended");
        }
    }
    for append in waiting {
        runtime.block_on(append).expect("appended");
    }
}

async fn append<S: EventLog>(store: Arc<S>, name: String, left: Arc<AtomicU64>, end: Instant) -> Vec<u32> {
    let ids = EventIds::of(&name);
    let streams: Vec<StreamName> =
        (0..STREAMS_EACH).map(|number| stream(&format!("{name}-{number}"))).collect();
    let mut latencies_us = Vec::new();
    for round in 0.. {
        for stream in &streams {
            let take = |left: u64| left.checked_sub(1);
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            let asked = Instant::now();
            if taken.is_err() || asked >= end {
                return latencies_us;
            }
            let expected = ExpectedVersion::Exact(Version::from_u64(round));
            let event = event(&ids, latencies_us.len() as u64);
            store.append(stream.clone(), expected, vec![event]).await.expect("appended");
            latencies_us.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
    latencies_us
}

pub(crate) fn stream(session: &str) -> StreamName {
    let tenant = TenantId::parse("tenant-1").expect("an id");
    let session = SessionId::parse(&format!("session-1705314600000-{session}")).expect("an id");
    StreamName::session(&tenant, &session)
}

/// Ids that nobody else makes.
pub(crate) struct EventIds(u128);

impl EventIds {
    pub(crate) fn of(name: &str) -> Self {
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(u128::from(seed) << 64)
    }
}

pub(crate) fn event(ids: &EventIds, number: u64) -> NewEvent {
    NewEvent {
        id: EventId::from_uuid(Uuid::from_u128(ids.0 | u128::from(number))),
        kind: "message.created".into(),
        schema: 1,
        time: Timestamp::from_millis(1_705_314_600_000),
        causation: "req-0190163d-8694".into(),
        actor: "key-pk_4f2a".into(),
        data: DATA.as_bytes().into(),
    }
}

/// About what a row of [`event`] takes.
pub(crate) const ROW_BYTES: usize = 350;
