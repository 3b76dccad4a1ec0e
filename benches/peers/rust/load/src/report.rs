//! One line for each measurement: `name=value` pairs that scripts read.

use std::{fmt::Display, io, time::Duration};

use crate::{
    latencies::LatencyRecord,
    server_figures::{ServerProcesses, UsageFigures},
};

/// A line.
pub struct ReportLine {
    line: String,
}

impl ReportLine {
    /// A line about a kind of work.
    pub fn new(kind: &str) -> Self {
        Self { line: format!("kind={kind}") }
    }

    /// Adds a value.
    pub fn field(mut self, name: &str, value: impl Display) -> Self {
        self.line.push_str(&format!(" {name}={value}"));
        self
    }

    /// Adds how many messages there were a second, and how long they took.
    pub fn latencies(self, latencies: &mut LatencyRecord, elapsed: Duration) -> Self {
        let [median, tail, most] = latencies.percentiles().map(|latency| latency.as_secs_f64() * 1e3);
        let rate = latencies.count() as f64 / elapsed.as_secs_f64();
        self.field("per_second", format_args!("{rate:.0}"))
            .field("p50_ms", format_args!("{median:.3}"))
            .field("p99_ms", format_args!("{tail:.3}"))
            .field("max_ms", format_args!("{most:.3}"))
    }

    /// Adds what so many messages cost each, and the memory after them.
    pub fn usage(self, usage: UsageFigures, servers: &ServerProcesses, messages: usize) -> io::Result<Self> {
        let each = |sum: u64| sum as f64 / messages.max(1) as f64;
        let line = self.field("own_us", format_args!("{:.2}", each(usage.own_microseconds)));
        if servers.is_empty() {
            return Ok(line);
        }
        let memory = servers.memory()?;
        Ok(line
            .field("server_us", format_args!("{:.2}", each(usage.server_microseconds)))
            .field("written_bytes", format_args!("{:.0}", each(usage.written_bytes)))
            .field("sleeps", format_args!("{:.2}", each(usage.sleeps)))
            .field("rss_kib", memory.resident)
            .field("pss_kib", memory.proportional))
    }

    /// Prints it.
    pub fn print(self) {
        println!("{}", self.line);
    }
}
