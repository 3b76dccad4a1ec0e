//! When messages are due.

use std::{
    process,
    time::{Duration, Instant, SystemTime},
};

use crate::arguments::LoadArguments;

/// How long after its end a measurement waits for answers.
const GRACE: Duration = Duration::from_secs(10);

/// The span of a measurement, and the rate if it is fixed. A message that is sent late is late from when it was due.
#[derive(Debug, Clone, Copy)]
pub struct LoadSchedule {
    start: Instant,
    measured_from: Instant,
    end: Instant,
    interval: Option<Duration>,
}

impl LoadSchedule {
    /// Starts now, with what the command line says.
    pub fn new(arguments: &LoadArguments) -> anyhow::Result<Self> {
        let rate = arguments.value("rate", 0)?;
        let (warmup, seconds) = (arguments.seconds("warmup", 1.0)?, arguments.seconds("seconds", 8.0)?);
        Ok(Self::starting(rate, warmup, seconds))
    }

    /// Starts now, at so many messages a second; 0: as many as there can be.
    pub fn starting(rate: u64, warmup: Duration, measured: Duration) -> Self {
        let start = Instant::now();
        let interval = (rate > 0).then(|| Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX));
        let measured_from = start + warmup;
        Self { start, measured_from, end: measured_from + measured, interval }
    }

    /// Messages that were due before are not counted.
    pub fn measured_from(&self) -> Instant {
        self.measured_from
    }

    /// How long messages are counted.
    pub fn measured(&self) -> Duration {
        self.end - self.measured_from
    }

    /// How many a second are due, if that is fixed.
    pub fn rate(&self) -> Option<u64> {
        self.interval.map(|interval| (1.0 / interval.as_secs_f64()).round() as u64)
    }

    /// When the next message was due, if that is not later than now.
    pub fn due(&self, sent: u64, now: Instant) -> Option<Instant> {
        let due = self.interval.map_or(now, |interval| self.moment(interval, sent));
        (due <= now && due < self.end).then_some(due)
    }

    /// When a message was due that was sent at a fixed rate.
    pub fn due_of(&self, number: u64) -> Instant {
        self.moment(self.interval.unwrap_or_default(), number)
    }

    /// Whether nothing more is due.
    pub fn is_over(&self, sent: u64, now: Instant) -> bool {
        self.interval.map_or(now, |interval| self.moment(interval, sent)) >= self.end
    }

    /// How many messages of a fixed rate were not sent, because every connection waited.
    pub fn unsent(&self, sent: u64) -> u64 {
        let due =
            |interval: Duration| (self.end - self.start).as_nanos().div_ceil(interval.as_nanos().max(1));
        let due = self.interval.map_or(0, |interval| u64::try_from(due(interval)).unwrap_or(u64::MAX));
        due.saturating_sub(sent)
    }

    /// Until when to wait if nothing else happens.
    pub fn wake(&self, sent: u64) -> Instant {
        match self.interval {
            Some(interval) if self.moment(interval, sent) < self.end => self.moment(interval, sent),
            _ => self.last_moment(),
        }
    }

    /// What has no answer by then has none.
    pub fn last_moment(&self) -> Instant {
        self.end + GRACE
    }

    fn moment(&self, interval: Duration, number: u64) -> Instant {
        let nanoseconds = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).saturating_mul(number);
        self.start + Duration::from_nanos(nanoseconds)
    }
}

/// A name that tells the sessions of this run from those of another.
pub fn run_name() -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{:08x}{:06x}", now.as_secs(), process::id())
}
