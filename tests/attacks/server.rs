//! The real program on a port of its own, and what the kernel says of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

/// A running service. It is killed when it is dropped.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    data: TempDir,
}

impl Server {
    /// Starts the program with settings (`AMOIQ__…`, value), without rate limits of its own, and with a limit of
    /// open files if one is given.
    pub fn start(program: &Path, settings: &[(&str, &str)], files: Option<usize>) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut command = match files {
            Some(files) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={files}:{files}")).arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut process = command
            .env("AMOIQ__SERVER__BIND", "127.0.0.1:0")
            .env("AMOIQ__OPERATOR__BIND", "127.0.0.1:0")
            .env("AMOIQ__STORE__PATH", data.path())
            .env("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "0")
            .env("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0")
            .env("AMOIQ__REALTIME__CONNECTIONS_PER_IP", "0")
            // Why a connection ended is a line of its own there.
            .env("AMOIQ__LOG__LEVEL", "info,amoiq::realtime::engine=debug")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let mut output =
            BufReader::new(process.stdout.take().context("no pipe")?).lines().map_while(Result::ok);
        let listens = |line: String| {
            let (_, rest) = line.split_once(" listens on http://")?;
            rest.split('"').next().map(str::parse)
        };
        let address = output.find_map(listens).context("it does not say where it listens")??;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&lines);
        std::thread::spawn(move || {
            output.for_each(|line| keep.lock().unwrap_or_else(PoisonError::into_inner).push(line));
        });
        Ok(Self { process, address, lines, data })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where operators are served, and their token.
    pub fn operator(&self) -> anyhow::Result<(SocketAddr, String)> {
        let door: Value = serde_json::from_slice(&fs::read(self.data.path().join("operator.json"))?)?;
        let text = |name: &str| door.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"));
        Ok((text("operator")?.trim_start_matches("http://").parse()?, text("token")?.to_owned()))
    }

    /// How many lines of its log hold all of these.
    pub fn logged(&self, parts: &[&str]) -> usize {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What a process holds in memory, in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1_024)
}

/// The processor time that a process has used, in hundredths of a second.
pub fn processor_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let mut times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let (user, system) = (times.next().context("no times")??, times.next().context("no times")??);
    Ok(user + system)
}

/// How many files and sockets a process has open.
pub fn open_files(pid: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Lets this process, and those that it starts, have as many files open as it may.
pub fn raise_file_limit() -> anyhow::Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit")?;
    let hard = line.split_whitespace().nth(4).context("no hard limit")?;
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]).status();
    anyhow::ensure!(raised.context("prlimit (util-linux)")?.success(), "the limit of files stays");
    Ok(())
}

/// Looks at a process's memory all the while and keeps the most that it saw.
pub struct MemoryWatch {
    peak_bytes: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    /// Begins to look, twenty times a second.
    pub fn start(pid: u32) -> Self {
        let (peak_bytes, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (peak, over) = (Arc::clone(&peak_bytes), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                peak.fetch_max(resident_bytes(pid).unwrap_or_default(), Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { peak_bytes, is_over, thread }
    }

    /// Ends: the most that it saw, in bytes.
    pub fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Release);
        drop(self.thread.join());
        self.peak_bytes.load(Ordering::Acquire)
    }
}
