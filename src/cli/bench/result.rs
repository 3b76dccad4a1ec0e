//! A result of the benchmark: a row of a table, or a line of JSON.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::HumanCount;
use serde_json::json;

/// The result of one part.
pub(super) struct BenchResult {
    /// Its name in JSON.
    pub(super) part: &'static str,
    /// Its name for people.
    pub(super) name: String,
    /// How much was done: messages, syncs, or events read.
    pub(super) count: u64,
    /// How many events of the log that was.
    pub(super) events: u64,
    pub(super) time: Duration,
    /// How long each one took, in microseconds, ascending; empty if only the total was timed.
    pub(super) latencies_us: Vec<u32>,
    /// The rate compared with that of the disk alone.
    pub(super) of_disk: Option<f64>,
}

impl BenchResult {
    /// Compares the rate with that of the disk alone.
    pub(super) fn compared_with(self, disk: &Self) -> Self {
        let of_disk = Some(a_second(self.events, self.time) / a_second(disk.events, disk.time));
        Self { of_disk, ..self }
    }

    /// Prints the result on standard output.
    pub(super) fn show(&self, as_json: bool) -> anyhow::Result<()> {
        let line = if as_json { self.json() } else { self.row() };
        write(&line)
    }

    fn json(&self) -> String {
        let millis = |latency_us: Option<u32>| latency_us.map(|us| f64::from(us) / 1_000.0);
        let [p50, p99, max] = self.percentiles().map(millis);
        json!({
            "part": self.part,
            "name": self.name.trim(),
            "count": self.count,
            "events": self.events,
            "seconds": self.time.as_secs_f64(),
            "perSecond": a_second(self.count, self.time),
            "p50Ms": p50,
            "p99Ms": p99,
            "maxMs": max,
            "ofDisk": self.of_disk,
        })
        .to_string()
    }

    fn row(&self) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people to read")]
        let rate = HumanCount(a_second(self.count, self.time) as u64);
        let millis =
            |us: Option<u32>| us.map_or_else(String::new, |us| format!("{:.2} ms", f64::from(us) / 1_000.0));
        let [p50, p99, max] = self.percentiles().map(millis);
        let of_disk = self.of_disk.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
        columns([&self.name, &format!("{rate}/s"), &p50, &p99, &max, &of_disk])
    }

    /// The median, the 99th percentile and the maximum.
    fn percentiles(&self) -> [Option<u32>; 3] {
        let sorted = &self.latencies_us;
        [50, 99, 100]
            .map(|percent| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied())
    }
}

/// Prints the headings of the columns.
pub(super) fn show_head() -> anyhow::Result<()> {
    write(&columns(["", "rate", "p50", "p99", "max", "of disk"]))
}

fn columns([name, rate, p50, p99, max, of_disk]: [&str; 6]) -> String {
    format!("{name:<36} {rate:>11} {p50:>10} {p99:>10} {max:>10} {of_disk:>9}").trim_end().to_owned()
}

fn write(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn a_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::EPSILON)
}
