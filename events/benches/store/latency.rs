//! How long one append takes while many others and the checkpoints go on.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::{
    directory,
    load::{Until, open, run},
    rate, row,
};

/// Long enough for the write-ahead log to pass its bound several times.
const FOR: Until = Until { time: Duration::from_secs(20), events: 10_000_000 };

pub(crate) fn measure(runtime: &Runtime) {
    let dir = directory();
    let store = open(dir.path());
    let mut run = run(runtime, &store, "load", 256, FOR);
    run.latencies_us.sort_unstable();
    row("256 appenders for 20 s", &rate(run.events, run.time));
    for (name, of_thousand) in [("p50", 500), ("p99", 990), ("p99.9", 999), ("max", 1_000)] {
        let index = (run.latencies_us.len() * of_thousand / 1_000).saturating_sub(1);
        let latency = run.latencies_us.get(index).copied().unwrap_or_default();
        let latency = format!("{}.{:02} ms", latency / 1_000, latency % 1_000 / 10);
        row(&format!("  append {name}"), &latency);
    }
    let wal = std::fs::metadata(dir.path().join("log.db-wal")).map_or(0, |file| file.len());
    row("  write-ahead log at the end", &format!("{} MiB", wal / 1_048_576));
}
