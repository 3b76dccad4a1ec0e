//! What the servers used: processor time, bytes written, memory. A process counts with those that it started.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    time::{Duration, Instant},
};

/// What all processes together used until a moment.
#[derive(Debug, Default, Clone, Copy)]
struct ProcessTotals {
    /// Hundredths of a second.
    ticks: u64,
    written_bytes: u64,
    /// How often a thread slept.
    sleeps: u64,
}

/// Memory in KiB.
#[derive(Debug, Default, Clone, Copy)]
pub struct MemoryFigures {
    /// With pages that several processes share counted in each.
    pub resident: u64,
    /// With each page counted once.
    pub proportional: u64,
}

/// What was used in a span of time.
#[derive(Debug, Default, Clone, Copy)]
pub struct UsageFigures {
    pub elapsed: Duration,
    pub server_microseconds: u64,
    pub own_microseconds: u64,
    pub written_bytes: u64,
    pub sleeps: u64,
}

/// The processes of the servers.
#[derive(Debug, Default, Clone)]
pub struct ServerProcesses {
    pids: Vec<u32>,
}

impl ServerProcesses {
    /// These processes, and those that they start.
    pub fn new(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    /// Whether anything is measured.
    pub fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }

    /// Starts to measure.
    pub fn measure(&self) -> io::Result<UsageMeasurement> {
        let servers = self.clone();
        Ok(UsageMeasurement {
            before: servers.totals()?,
            servers,
            own_before: own_ticks()?,
            start: Instant::now(),
        })
    }

    /// The memory of the first, with what it started: a database keeps what it likes.
    pub fn memory(&self) -> io::Result<MemoryFigures> {
        let mut memory = MemoryFigures::default();
        for pid in with_descendants(self.pids.get(..1).unwrap_or_default())? {
            let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            memory.resident += number_after(&rollup, "Rss:");
            memory.proportional += number_after(&rollup, "Pss:");
        }
        Ok(memory)
    }

    fn totals(&self) -> io::Result<ProcessTotals> {
        let mut totals = ProcessTotals::default();
        for pid in with_descendants(&self.pids)? {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            // Its own time, and that of the processes that it started and that ended.
            totals.ticks += (11..15).map(|field| stat_field(&stat, field)).sum::<u64>();
            let input_output = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            totals.written_bytes += number_after(&input_output, "write_bytes:");
            for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                totals.sleeps += number_after(&status, "voluntary_ctxt_switches:");
            }
        }
        Ok(totals)
    }
}

fn with_descendants(pids: &[u32]) -> io::Result<HashSet<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat_field(&stat, 1);
        children.entry(u32::try_from(parent).unwrap_or_default()).or_default().push(pid);
    }
    let (mut all, mut unvisited) = (HashSet::new(), pids.to_vec());
    while let Some(pid) = unvisited.pop() {
        if all.insert(pid) {
            unvisited.extend(children.get(&pid).into_iter().flatten());
        }
    }
    Ok(all)
}

/// What was used since a moment.
pub struct UsageMeasurement {
    servers: ServerProcesses,
    before: ProcessTotals,
    own_before: u64,
    start: Instant,
}

impl UsageMeasurement {
    /// What was used until now.
    pub fn figures(&self) -> io::Result<UsageFigures> {
        let (elapsed, after) = (self.start.elapsed(), self.servers.totals()?);
        let microseconds = |before: u64, after: u64| after.saturating_sub(before) * 10_000;
        Ok(UsageFigures {
            elapsed,
            server_microseconds: microseconds(self.before.ticks, after.ticks),
            own_microseconds: microseconds(self.own_before, own_ticks()?),
            written_bytes: after.written_bytes.saturating_sub(self.before.written_bytes),
            sleeps: after.sleeps.saturating_sub(self.before.sleeps),
        })
    }
}

fn own_ticks() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    Ok(stat_field(&stat, 11) + stat_field(&stat, 12))
}

/// A field after the name of the process, which is in brackets and may hold anything; 0 is the state.
fn stat_field(stat: &str, field: usize) -> u64 {
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let value = fields.and_then(|fields| fields.split_whitespace().nth(field));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// The number in the line that starts with a name.
fn number_after(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}
