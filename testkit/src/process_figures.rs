//! What the kernel says about a running process.

use std::{
    fs, io,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often a [`MemoryWatch`] looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// How much memory a process holds, in bytes.
///
/// # Errors
/// When the process has ended.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or(io::ErrorKind::NotFound)?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().map_err(io::Error::other)?;
    Ok(kibibytes * 1_024)
}

/// The processor time that a process has used, in hundredths of a second.
///
/// # Errors
/// When the process has ended.
pub fn processor_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().map_err(io::Error::other)).sum()
}

/// How many files and sockets a process has open.
///
/// # Errors
/// When the process has ended.
pub fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Lets this process, and those that it starts, have as many files open as it may.
pub fn raise_file_limit() {
    let limits = fs::read_to_string("/proc/self/limits").expect("the limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let hard = line.split_whitespace().nth(4).expect("a hard limit");
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]).status();
    assert!(raised.expect("prlimit (util-linux) runs").success(), "the limit of files stays");
}

/// Watches a process's memory and keeps the most that it saw.
pub struct MemoryWatch {
    peak_bytes: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    /// Starts to watch.
    #[must_use]
    pub fn start(pid: u32) -> Self {
        let (peak_bytes, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (peak, over) = (Arc::clone(&peak_bytes), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                peak.fetch_max(resident_bytes(pid).unwrap_or_default(), Ordering::AcqRel);
                thread::sleep(WATCH_INTERVAL);
            }
        });
        Self { peak_bytes, is_over, thread }
    }

    /// Ends, and gives the most that it saw, in bytes.
    #[must_use]
    pub fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Release);
        drop(self.thread.join());
        self.peak_bytes.load(Ordering::Acquire)
    }
}
