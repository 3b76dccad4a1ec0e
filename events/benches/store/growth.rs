//! Whether anything gets slower as the log grows.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use amoiq_events::{
    EventLog, Position, Version,
    store::{ExpectedVersion, LogReader, ReadDirection, sqlite::SqliteStore},
};
use criterion::Criterion;
use tokio::runtime::Runtime;

use crate::{
    directory,
    load::{self, EventIds, Until, open, stream},
    rate, row,
};

/// How many events are appended to measure the cost of one.
const SAMPLE: u64 = 50_000;

/// The log's length at which it is replayed and a session is read.
const READ_AT: u64 = 1_000_000;

/// The session that is read: its events are all over the log.
const SESSION_EVENTS: u64 = 5_000;

pub(crate) fn measure(runtime: &Runtime) {
    let dir = directory();
    let mut length = 0;
    let mut sizes = vec![10_000, 100_000, 1_000_000];
    if std::env::var_os("AMOIQ_BENCH_FULL").is_some() {
        sizes.push(10_000_000);
    }
    for size in sizes {
        let store = open(dir.path());
        fill(runtime, &store, length, size);
        // Closed and opened, so that the disk is not still busy with what the log was filled with.
        drop(store);
        let store = open(dir.path());
        let until = Until { time: Duration::from_secs(20), events: SAMPLE };
        let run = load::run(runtime, &store, &format!("at-{size}"), 256, until);
        length = size + run.events;
        let cost_ns = run.time.as_nanos() / u128::from(run.events.max(1));
        let cost = format!("{}.{} µs", cost_ns / 1_000, cost_ns % 1_000 / 100);
        row(&format!("append at {size} events, 256 appenders"), &cost);
        crash_and_open(dir.path(), size);
        drop(store);
        let begun = Instant::now();
        let store = open(dir.path());
        row(&format!("start with {size} events"), &millis(begun.elapsed()));
        if size == READ_AT {
            replay(runtime, &store);
            pages(runtime, &store);
        }
    }
}

/// Grows the log; the one session gets its share of each part on the way to [`READ_AT`].
fn fill(runtime: &Runtime, store: &Arc<SqliteStore>, from: u64, to: u64) {
    let ids = EventIds::of("the-session");
    let steps = (to - from) / 10_000;
    for step in 0..steps {
        load::grow(runtime, store, &format!("fill-{from}-{step}"), 10_000);
        if to > READ_AT {
            continue;
        }
        for number in 0..SESSION_EVENTS * 10_000 / READ_AT {
            let event = load::event(&ids, from * 1_000 + step * 100 + number);
            let append = store.append(stream("the-session"), ExpectedVersion::Any, vec![event]);
            runtime.block_on(append).expect("appended");
        }
    }
}

/// Opens what a crash would leave at this moment. A very long log would take too long to copy.
fn crash_and_open(directory: &Path, size: u64) {
    if size > READ_AT {
        return;
    }
    let crashed = crate::directory();
    for name in ["log.db", "log.db-wal", "log.witness"] {
        std::fs::copy(directory.join(name), crashed.path().join(name)).expect("copied");
    }
    let begun = Instant::now();
    let store = open(crashed.path());
    row(&format!("start after a crash with {size} events"), &millis(begun.elapsed()));
    assert_eq!(store.recovery().lost_up_to, None, "nothing is lost");
}

fn replay(runtime: &Runtime, store: &Arc<SqliteStore>) {
    let begun = Instant::now();
    let mut pages = LogReader::all(&**store, Position::START);
    let mut events = 0;
    while let Some(page) = runtime.block_on(pages.next_page()).expect("read") {
        events += page.len() as u64;
    }
    row(&format!("replay of {events} events"), &rate(events, begun.elapsed()));
}

fn pages(runtime: &Runtime, store: &Arc<SqliteStore>) {
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .without_plots();
    for (name, from, direction, limit) in [
        ("newest 100 of 5,000, backwards", u64::MAX, ReadDirection::Backward, 100),
        ("100 in the middle, backwards", 2_500, ReadDirection::Backward, 100),
        ("500 in the middle, forwards", 2_500, ReadDirection::Forward, 500),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let read =
                    store.read_stream(stream("the-session"), Version::from_u64(from), direction, limit);
                let page = runtime.block_on(read).expect("read");
                assert_eq!(page.len(), limit);
                page
            });
        });
    }
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
